/**
 * The pods of one overlay: this node's ranges, the members', and the host made to fit. Owns the
 * order: ranges are known, then the host is set up, then they are announced. Decides by `core/`.
 */
import {
  type Address,
  contains,
  formatAddress,
  formatRange,
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
import { chooseClaim, isClaimOf, type Pool, parseRanges, yieldsTo } from './core/claims.ts';
import {
  masqueradeRules,
  planBridged,
  planPodBridge,
  planRoutes,
  podBridgeName,
  type RouteWish,
  rangesOn,
  routeKey,
  type SeenDevice,
} from './core/host-plan.ts';
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
import {
  forwardPackets,
  loadRules,
  runIp,
  seeDevices,
  seeRoutes,
  sendNoRedirects,
} from './host.ts';
import { followNode } from './kubernetes.ts';
import { readRanges, writeRanges } from './range-file.ts';

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
  #own: readonly Range[] = [];
  #problem: string | null;
  /** What the host refused, until it does not any more. */
  #hostProblem: string | null = 'the host is not set up yet';
  #device: DeviceSummary | null = null;
  #mtu = noMtu;
  #isUp = false;
  #onlineAtMs: number | null = null;
  /** Of the host, without what is ours. */
  #hostRanges: readonly Reserved[] = [];
  /** Ranges of routes that an earlier run left, until their members have said so or time is up. */
  #inherited: Set<string> | null = null;
  #announced = '';
  #rules = '';
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
    this.#problem = this.#isWithoutPods
      ? 'this node has no pods: PodCIDRs is empty'
      : `the pod ranges of this node are not known yet (${source.kind})`;
  }

  start(): void {
    const { clock, stateDirectory } = this.#deps;
    const { source, overlay } = this.config;
    if (this.#isWithoutPods) this.#refresh();
    else if (source.kind === 'config') this.#setOwn(parseRanges(source.ranges));
    else {
      const before = parseRanges(readRanges(stateDirectory, overlay));
      const isGood = source.kind === 'kubernetes' || isClaimOf(this.#pool, before);
      if (isGood && before.length > 0) this.#setOwn(before);
    }
    if (source.kind === 'kubernetes') this.#follow(source);
    every(clock, times.tickMs, this.#over.signal, () => {
      this.#input({ kind: 'tick' });
      if (clock.now() - this.#lookedAtMs >= times.lookEveryMs) this.#refresh();
    });
  }

  async stop(): Promise<void> {
    this.#over.abort();
    await this.#work;
    const { overlay, autoDelete } = this.config;
    if (!autoDelete || this.#deps.attached(overlay) > 0) return;
    // What pods of the next start need is made again then.
    const { exec } = this.#deps;
    const devices = await seeDevices(exec);
    const name = podBridgeName(overlay);
    if (devices.some((each) => each.name === name))
      await runIp(exec, [['link', 'delete', 'dev', name]]);
    if (this.#rules !== '') await loadRules(exec, masqueradeRules(overlay, [], []));
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
      own: this.#own.map((range) => ({
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
    return this.#problem ?? this.#hostProblem;
  }

  /** The bridge that pods are ports of; null where there is none for the mode. */
  get #bridge(): string | null {
    const { mode, overlay } = this.config;
    if (mode === 'routed') return podBridgeName(overlay);
    return this.#device?.provider === 'lxbr'
      ? (this.#device.appBridge ?? this.#device.bridge)
      : null;
  }

  /** The operator gave it no range: it has no pods, and knows where the others' are. */
  get #isWithoutPods(): boolean {
    const { source } = this.config;
    return source.kind === 'config' && source.ranges.length === 0;
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

  get #pool(): Pool {
    const { source } = this.config;
    if (source.kind !== 'pool') return { ranges: [], nodeLength: { 4: 32, 6: 128 } };
    return { ranges: parseRanges(source.pool), nodeLength: source.nodeLength };
  }

  get #surroundings(): Surroundings {
    return {
      self: this.#deps.self,
      own: this.#own,
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
    if (this.config.source.kind !== 'pool' || this.#own.length === 0) return;
    const { self } = this.#deps;
    const rival = this.#members.refused.find(({ isOurs, node }) => isOurs && yieldsTo(self, node));
    if (rival === undefined) return;
    this.#log.warn('pod range given up', {
      peer: rival.node,
      address: rival.what,
      reason: 'a node with a lower id claims it too',
    });
    this.#own = [];
    this.#claim();
  }

  /** Takes free ranges of the pool, unless this node has some. */
  #claim(): void {
    if (this.#own.length > 0 || this.#onlineAtMs === null) return;
    const taken = [...this.#members.members.values()].flatMap(({ ranges }) => parseRanges(ranges));
    const reserved = [...this.#services, ...this.#hostRanges].map(({ range }) => range);
    const links = this.#links.map(({ range }) => range);
    const claim = chooseClaim(this.#pool, this.#deps.self, [...taken, ...reserved, ...links]);
    if (claim === null) this.#problem = 'no range of the pool is free';
    else this.#setOwn(claim);
  }

  #follow(source: PodsConfig['source'] & { readonly kind: 'kubernetes' }): void {
    const { clock, random, environment } = this.#deps;
    followNode(
      source,
      {
        clock,
        random,
        environment,
        found: (texts) => {
          const ranges = parseRanges(texts);
          if (ranges.length === texts.length) this.#setOwn(ranges);
          else this.#fail(`the Kubernetes API gives "${texts.join(', ')}", which are no ranges`);
        },
        failed: (why) => this.#fail(why),
      },
      this.#over.signal,
    );
  }

  /** Ranges of before stay in use: an API server that is away for an hour changes nothing. */
  #fail(why: string): void {
    if (this.#own.length === 0) this.#problem = why;
    this.#log.warn('pod ranges not read', { error: why });
  }

  #setOwn(ranges: readonly Range[]): void {
    const texts = ranges.map(formatRange);
    if (texts.join() === this.#own.map(formatRange).join()) return;
    this.#own = ranges;
    this.#problem = null;
    this.#log.info('pod ranges known', { address: texts.join(', ') });
    const { source, overlay } = this.config;
    if (source.kind !== 'config') writeRanges(this.#deps.stateDirectory, overlay, texts);
    this.#input({ kind: 'tick' });
    this.#refresh();
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
    const { exec } = this.#deps;
    this.#lookedAtMs = this.#deps.clock.now();
    const devices = await seeDevices(exec);
    this.#seeHost(devices);
    const holder = this.#holder;
    const bridge = this.#bridge;
    if (holder === null || bridge === null) return false;
    if (this.#own.length === 0 && !this.#isWithoutPods) return false;
    if (this.#own.length > 0) {
      await this.#applyBridge(devices, bridge);
      const hasIpv6 = this.#own.some(({ family }) => family === 6);
      const unset = [...(await forwardPackets(hasIpv6)), ...(await sendNoRedirects(holder))];
      for (const error of unset) this.#log.warn('the host may not forward for pods', { error });
    }
    await this.#applyRoutes(holder, bridge);
    await this.#applyRules();
    return true;
  }

  /** The host's own ranges: what a member must not take away from it. */
  #seeHost(devices: readonly SeenDevice[]): void {
    const ours = (device: SeenDevice): boolean =>
      device.alias.startsWith('evio:') || device.name === this.#holder;
    this.#hostRanges = devices
      .filter((device) => !ours(device) && device.name !== 'lo')
      .flatMap((device) =>
        rangesOn(device).map((range) => ({ range, what: `of ${device.name} on this host` })),
      );
    const clash = this.#own.flatMap((own) =>
      [
        ...this.#hostRanges,
        ...this.#links.map(({ range }) => ({ range, what: 'the overlay itself' })),
      ].filter(
        ({ range }) =>
          range.family === own.family && range.first <= own.last && own.first <= range.last,
      ),
    );
    const [first] = clash;
    if (first !== undefined) {
      throw new Error(
        `the pod range of this node overlaps ${formatRange(first.range)}, ${first.what}`,
      );
    }
  }

  async #applyBridge(devices: readonly SeenDevice[], bridge: string): Promise<void> {
    const { exec, self } = this.#deps;
    const { overlay, mode } = this.config;
    const seen = devices.find(({ name }) => name === bridge);
    const gateways = this.#own.map((range) => ({ range, gateway: gatewayOf(range) }));
    if (mode === 'bridged') {
      const addresses = gateways.map(({ gateway }) => gateway);
      await runIp(exec, planBridged(bridge, addresses, seen?.addresses ?? []));
      return;
    }
    const mac = ['0a', '59', ...(self.slice(0, 8).match(/../g) ?? [])].join(':');
    const plan = planPodBridge(
      {
        overlay,
        mac,
        mtu: this.#mtu,
        gateways: gateways.map(({ range, gateway }) => `${formatAddress(gateway)}/${range.length}`),
      },
      seen,
    );
    if ('foreign' in plan) throw new Error(plan.foreign);
    if (seen === undefined) this.#hostProblem ??= `bridge ${bridge} is being made`;
    await runIp(exec, plan.commands);
  }

  async #applyRoutes(holder: string, bridge: string): Promise<void> {
    const { exec, clock } = this.#deps;
    const wanted = this.config.mode === 'routed' ? this.#routes(holder) : this.#onBridge(bridge);
    const seen = await seeRoutes(exec, holder);
    const settled = this.#onlineAtMs !== null && clock.now() - this.#onlineAtMs >= times.inheritMs;
    this.#inherited ??= new Set(seen.map(({ dst }) => dst));
    if (settled) this.#inherited.clear();
    for (const { range } of wanted) this.#inherited.delete(routeKey(range));
    await runIp(exec, planRoutes(wanted, seen, this.#inherited));
  }

  #routes(device: string): readonly RouteWish[] {
    return routesOf(this.#members, this.#surroundings).flatMap(({ range, via }) =>
      via === null ? [] : [{ range, via, device }],
    );
  }

  /** The whole cluster is on the link; the narrower ranges of the pods of other nodes are in it. */
  #onBridge(device: string): readonly RouteWish[] {
    return this.#cluster
      .filter((range) => this.#own.some(({ family }) => family === range.family))
      .map((range) => ({ range, via: null, device }));
  }

  async #applyRules(): Promise<void> {
    const { masquerade, overlay } = this.config;
    const members = this.#members.holdings.map(({ range }) => range);
    const services = this.#services.map(({ range }) => range);
    // Other hosts of the overlay have no way back to a pod: only those that have pods themselves.
    const hosts = routingAddresses(this.#members, this.#surroundings).map((address) =>
      rangeOf(address, widthOf(address.family)),
    );
    const inside = [...this.#cluster, ...members, ...services, ...hosts];
    const wanted = masquerade && this.#own.length > 0;
    const rules = wanted ? masqueradeRules(overlay, this.#own, inside) : '';
    if (rules === this.#rules) return;
    await loadRules(this.#deps.exec, rules);
    this.#rules = rules;
  }

  #announce(): void {
    const { overlay } = this.config;
    const pods = {
      addresses: this.#links.map(({ address }) => formatAddress(address)).slice(0, 4),
      ranges: this.#own.map(formatRange),
    };
    const text = JSON.stringify(pods);
    if (text === this.#announced) return;
    this.#announced = text;
    this.#deps.port.publish('pods.rangesChanged', { overlay, pods });
  }
}

export type PodsSnapshot = ReturnType<OverlayPods['snapshot']> & { readonly overlay: OverlayId };

/** The first address of a node's range after that of the network. */
const gatewayOf = ({ family, first }: Range): Address => ({ family, bits: first + 1n });
