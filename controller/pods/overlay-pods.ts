/**
 * The pods of one overlay: this node's ranges, the members', and the host made to fit. Owns the
 * order: ranges are known, then the host is set up, then they are announced. Decides by `core/`.
 */
import {
  contains,
  formatAddress,
  formatRange,
  overlaps,
  parseInterface,
  type Range,
  rangeOf,
  widthOf,
} from '../../base/cidr.ts';
import { every } from '../../base/clock.ts';
import { messageOf } from '../../base/errors.ts';
import type { NodeId, OverlayId } from '../../base/ids.ts';
import type { Logger } from '../../base/log.ts';
import type { DeviceSummary } from '../events.ts';
import { parseRanges, yieldsTo } from './core/claims.ts';
import { podBridgeName, type RouteWish } from './core/host-plan.ts';
import {
  isLive,
  type MembersInput,
  type MembersState,
  nextMembers,
  noMembers,
  type Reserved,
  routesOf,
  routingAddresses,
  type Surroundings,
} from './core/members.ts';
import { type PodsConfig, type PodsDeps, times } from './deps.ts';
import { gatewayOf, HostSetup } from './host-setup.ts';
import { OwnRanges } from './own-ranges.ts';

/** MTU before a device is known; pods are attached only afterwards. */
const noMtu = 1_280;

export class OverlayPods {
  readonly config: PodsConfig;
  readonly #deps: PodsDeps;
  readonly #log: Logger;
  readonly #over = new AbortController();
  readonly #cluster: readonly Range[];
  readonly #services: readonly Reserved[];
  #members: MembersState = noMembers;
  readonly #linked = new Set<NodeId>();
  readonly #own: OwnRanges;
  readonly #host: HostSetup;
  /** What the host refused, until it does not any more. */
  #hostProblem: string | null = 'the host is not set up yet';
  #device: DeviceSummary | null = null;
  #mtu = noMtu;
  #isUp = false;
  #onlineAtMs: number | null = null;
  /** Of the host, without what is ours. */
  #hostRanges: readonly Reserved[] = [];
  #announced = '';
  #work: Promise<void> = Promise.resolve();
  #isDirty = false;
  #lookedAtMs = 0;

  constructor(config: PodsConfig, deps: PodsDeps) {
    this.config = config;
    this.#deps = deps;
    this.#log = deps.log.child('pods', { overlay: config.overlay });
    const { source } = config;
    const pool = source.kind === 'pool' ? source.pool : [];
    this.#cluster = parseRanges(config.clusterRanges.length > 0 ? config.clusterRanges : pool);
    this.#services = parseRanges(config.serviceRanges).map((range) => ({
      range,
      what: 'the services',
    }));
    const { exec, self, sysctls } = deps;
    const { overlay } = config;
    this.#own = new OwnRanges(config, deps, this.#log, () => {
      this.#input({ kind: 'tick' });
      this.#refresh();
    });
    this.#host = new HostSetup({ exec, sysctls, self, overlay, log: this.#log });
  }

  start(): void {
    const { clock } = this.#deps;
    this.#own.start(this.#over.signal);
    every(clock, times.tickMs, this.#over.signal, () => {
      this.#input({ kind: 'tick' });
      if (clock.now() - this.#lookedAtMs >= times.lookEveryMs) this.#refresh();
    });
  }

  async stop(): Promise<void> {
    this.#over.abort();
    await this.#work;
    const { overlay, autoDelete } = this.config;
    if (autoDelete && this.#deps.attached(overlay) === 0) await this.#host.remove();
  }

  deviceReady(device: DeviceSummary): void {
    this.#device = device;
    this.#setMtu(device.mtu);
    this.#input({ kind: 'tick' });
    this.#refresh();
  }

  deviceFailed(): void {
    this.#device = null;
  }

  mtuChanged(mtu: number): void {
    if (this.config.mtu === null) this.#setMtu(mtu);
  }

  #setMtu(mtu: number): void {
    if (this.#mtu === mtu) return;
    this.#mtu = mtu;
    this.#deps.mtuChanged(this.config.overlay, mtu);
    this.#refresh();
  }

  tunnelsUp(isUp: boolean): void {
    this.#isUp = isUp;
  }

  signalChanged(isOnline: boolean): void {
    if (isOnline === (this.#onlineAtMs !== null)) return;
    this.#onlineAtMs = isOnline ? this.#deps.clock.now() : null;
    this.#input({ kind: 'tick' });
    if (!isOnline || this.config.source.kind !== 'pool') return;
    this.#deps.clock.after(times.listenMs, this.#over.signal, () => this.#claim());
  }

  peer(input: MembersInput): void {
    if (input.kind === 'linked') this.#linked.add(input.node);
    if (input.kind === 'unlinked') this.#linked.delete(input.node);
    this.#input(input);
    if (input.kind === 'announced' && this.#linked.has(input.node)) {
      this.#input({ kind: 'linked', node: input.node });
    }
  }

  networkChanged(): void {
    this.#refresh();
  }

  /** For the plugin; null with the reason while no pod can be attached. */
  snapshot() {
    const { overlay, mode } = this.config;
    const bridge = this.#bridge;
    const routes = routesOf(this.#members, this.#surroundings);
    return {
      overlay,
      mode,
      source: this.config.source.kind,
      bridge: bridge ?? podBridgeName(overlay),
      mtu: this.#mtu,
      own: this.#own.ranges.map((range) => ({
        range,
        gateway: formatAddress(gatewayOf(range)),
        onLink: mode === 'routed' ? range.length : this.#onLink(range),
      })),
      problem: this.#whyNot(),
      isUp: this.#isUp,
      members: routes.map(({ node, range, via }) => {
        const member = this.#members.members.get(node);
        return {
          nodeId: node,
          name: member?.name ?? '',
          range: formatRange(range),
          via: via === null ? null : formatAddress(via),
          isLive: member !== undefined && isLive(member),
        };
      }),
      refused: this.#members.refused.map(({ node, name, what, reason }) => ({
        nodeId: node,
        name,
        what,
        reason,
      })),
    };
  }

  /** Sets the host right now; resolves when that is done. */
  repair(): Promise<void> {
    this.#refresh();
    return this.#work;
  }

  #whyNot(): string | null {
    if (this.#over.signal.aborted) return 'the controller is stopping';
    if (this.#device === null) return `the device of overlay ${this.config.overlay} does not stand`;
    if (this.config.mode === 'bridged' && this.#bridge === null)
      return 'mode bridged needs a Linux bridge (BridgeProvider LXBR)';
    return this.#own.problem ?? this.#hostProblem;
  }

  /** The bridge that pods are ports of; null where there is none for the mode. */
  get #bridge(): string | null {
    const { mode, overlay } = this.config;
    if (mode === 'routed') return podBridgeName(overlay);
    return this.#device?.provider === 'lxbr'
      ? (this.#device.appBridge ?? this.#device.bridge)
      : null;
  }

  /** The device that holds this host's addresses in the overlay. */
  get #holder(): string | null {
    const device = this.#device;
    return device === null ? null : (device.appBridge ?? device.bridge ?? device.tap);
  }

  #onLink(range: Range): number {
    const whole = this.#cluster.find((each) => contains(each, gatewayOf(range)));
    return whole?.length ?? range.length;
  }

  get #surroundings(): Surroundings {
    return {
      self: this.#deps.self,
      own: this.#own.ranges,
      links: this.#links,
      cluster: this.#cluster,
      reserved: [...this.#services, ...this.#hostRanges],
      isOnline: this.#onlineAtMs !== null,
    };
  }

  get #links(): Surroundings['links'] {
    return (this.#device?.addresses ?? []).map(parseInterface).filter((each) => each !== null);
  }

  #input(input: MembersInput): void {
    const before = this.#members;
    this.#members = nextMembers(before, input, this.#surroundings, this.#deps.clock.now());
    for (const refusal of this.#members.refused) {
      const { node, what, reason } = refusal;
      if (
        before.refused.some(
          (old) => old.node === node && old.what === what && old.reason === reason,
        )
      )
        continue;
      this.#log.warn('pod range refused', { peer: node, address: what, reason });
    }
    this.#giveWay();
    const isNews =
      this.#members.holdings.length !== before.holdings.length || input.kind !== 'tick';
    if (isNews) this.#refresh();
  }

  /** Another node claims what we do: the one of us with the higher id looks for another. */
  #giveWay(): void {
    if (this.config.source.kind !== 'pool' || this.#own.ranges.length === 0) return;
    const { self } = this.#deps;
    const rival = this.#members.refused.find(({ isOurs, node }) => isOurs && yieldsTo(self, node));
    if (rival === undefined) return;
    const reason = 'a node with a lower id claims it too';
    this.#log.warn('pod range given up', { peer: rival.node, address: rival.what, reason });
    this.#own.giveUp();
    this.#claim();
  }

  #claim(): void {
    if (this.#onlineAtMs === null) return;
    const claimed = [...this.#members.members.values()].flatMap((each) => parseRanges(each.ranges));
    const others = [...this.#services, ...this.#hostRanges, ...this.#links];
    this.#own.claim([...claimed, ...others.map(({ range }) => range)]);
  }

  /** Brings the host up to date, once for all that changes meanwhile. */
  #refresh(): void {
    if (this.#isDirty || this.#over.signal.aborted) return;
    this.#isDirty = true;
    this.#work = this.#work.then(async () => {
      this.#isDirty = false;
      if (this.#over.signal.aborted) return;
      try {
        if (!(await this.#apply())) return;
        if (this.#hostProblem !== null) {
          this.#log.info('pods can be attached', { device: this.#bridge ?? '' });
          this.#hostProblem = null;
          this.#deps.hostReady(this.config.overlay);
        }
        this.#announce();
      } catch (error) {
        if (this.#hostProblem !== messageOf(error))
          this.#log.warn('host not set up for pods', { error: messageOf(error) });
        this.#hostProblem = messageOf(error);
        this.#deps.clock.after(times.retryMs, this.#over.signal, () => this.#refresh());
      }
    });
  }

  /** Whether all is known that it takes. */
  async #apply(): Promise<boolean> {
    const { clock } = this.#deps;
    this.#lookedAtMs = clock.now();
    const holder = this.#holder;
    const view = await this.#host.look(holder);
    this.#hostRanges = view.ranges;
    const bridge = this.#bridge;
    const own = this.#own.ranges;
    if (holder === null || bridge === null) return false;
    if (own.length === 0 && !this.#own.isWithoutPods) return false;
    this.#refuseClash(own);
    const isSettled =
      this.#onlineAtMs !== null && clock.now() - this.#onlineAtMs >= times.inheritMs;
    const { mode, masquerade } = this.config;
    const routes = mode === 'routed' ? this.#routes(holder) : this.#onBridge(bridge);
    const inside = masquerade ? this.#inside : null;
    const wish = { mode, bridge, holder, own, routes, inside, isSettled, mtu: this.#mtu };
    if (await this.#host.apply(wish, view)) this.#hostProblem ??= `bridge ${bridge} was made`;
    return true;
  }

  #refuseClash(own: readonly Range[]): void {
    const links = this.#links.map(({ range }) => ({ range, what: 'the overlay itself' }));
    const clash = [...this.#hostRanges, ...links].find(({ range }) =>
      own.some((each) => overlaps(each, range)),
    );
    if (clash === undefined) return;
    const { range, what } = clash;
    throw new Error(`the pod range of this node overlaps ${formatRange(range)}, ${what}`);
  }

  #routes(device: string): readonly RouteWish[] {
    return routesOf(this.#members, this.#surroundings).flatMap(({ range, via }) =>
      via === null ? [] : [{ range, via, device }],
    );
  }

  /** The whole cluster is on the link; the narrower ranges of the pods of other nodes are in it. */
  #onBridge(device: string): readonly RouteWish[] {
    return this.#cluster
      .filter((range) => this.#own.ranges.some(({ family }) => family === range.family))
      .map((range) => ({ range, via: null, device }));
  }

  /** Where packets of pods keep their source. */
  get #inside(): readonly Range[] {
    const members = this.#members.holdings.map(({ range }) => range);
    const services = this.#services.map(({ range }) => range);
    // Other hosts of the overlay have no way back to a pod: only those that have pods themselves.
    const hosts = routingAddresses(this.#members, this.#surroundings).map((address) =>
      rangeOf(address, widthOf(address.family)),
    );
    return [...this.#cluster, ...members, ...services, ...hosts];
  }

  #announce(): void {
    const { overlay } = this.config;
    const ranges = this.#own.ranges.map(formatRange);
    const text = JSON.stringify(ranges);
    if (text === this.#announced) return;
    this.#announced = text;
    this.#deps.port.publish('pods.rangesChanged', { overlay, ranges });
  }
}

export type PodsSnapshot = ReturnType<OverlayPods['snapshot']> & { readonly overlay: OverlayId };
