/**
 * One kubelet without an API server, and the static pods that it is given. Owns the manifests; what
 * gives pods their network comes from others.
 */
import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { z } from 'zod';
import type { Child } from '../child.ts';
import { waitFor } from '../scope.ts';
import { judge } from './judges.ts';
import type { Machine } from './machine.ts';
import { importImage, judgeImage, kubeletSettings, startContainerd } from './runtime.ts';

const manifests = '/var/lib/kubelet/manifests';

const Pods = z.object({
  items: z
    .array(
      z.object({
        metadata: z.object({ name: z.string() }),
        status: z.object({
          podIP: z.string().optional(),
          containerStatuses: z
            .array(z.object({ ready: z.boolean(), containerID: z.string().optional() }))
            .default([]),
        }),
      }),
    )
    .nullable(),
});

/** A pod that runs. */
export interface StaticPod {
  readonly address: string;
  readonly containerId: string;
}

export interface Standalone {
  readonly containerd: Child;
  /** Gives it a pod; at once, because it watches the folder. */
  put(name: string, container?: object): void;
  remove(name: string): void;
  /** Undefined until it runs and has an address. */
  pod(name: string): Promise<StaticPod | undefined>;
  waitPod(name: string): Promise<StaticPod>;
  /** Ends the kubelet and starts it again. */
  restart(): Promise<void>;
}

export async function startStandalone(machine: Machine): Promise<Standalone> {
  const { lab, name: ns } = machine;
  mkdirSync(machine.file(manifests));
  const config = {
    ...kubeletSettings(machine),
    staticPodPath: manifests,
    fileCheckFrequency: '1s',
    syncFrequency: '5s',
    address: '127.0.0.1',
    readOnlyPort: 10_255,
    authentication: { anonymous: { enabled: true }, webhook: { enabled: false } },
    authorization: { mode: 'AlwaysAllow' },
  };
  writeFileSync(machine.file('/var/lib/kubelet/config.yaml'), JSON.stringify(config));
  const containerd = await startContainerd(machine);
  await importImage(machine);
  const address = ['--node-ip=10.77.0.1', '--hostname-override=alone', '--v=2'];
  const argv = [judge('kubelet'), '--config=/var/lib/kubelet/config.yaml', ...address];
  const ask = (url: string): Promise<string> =>
    lab.exec(ns, ['curl', '--silent', '--show-error', '--fail', '--max-time', '5', url]);
  const start = async (): Promise<Child> => {
    const child = lab.spawn(ns, argv);
    await waitFor('the kubelet is healthy', () => ask('http://127.0.0.1:10248/healthz'), {
      timeoutMs: 60_000,
      stepMs: 200,
      context: () => child.log().slice(-3_000),
    });
    return child;
  };
  let kubelet = await start();
  const pod: Standalone['pod'] = async (name) => {
    const { items } = Pods.parse(JSON.parse(await ask('http://127.0.0.1:10255/pods')));
    const found = items?.find(({ metadata }) => metadata.name === `${name}-alone`)?.status;
    const [container] = found?.containerStatuses ?? [];
    if (found?.podIP === undefined || container?.containerID === undefined || !container.ready) {
      return undefined;
    }
    return { address: found.podIP, containerId: container.containerID };
  };
  return {
    containerd,
    pod,
    put(name, container = {}) {
      // Made elsewhere: whatever stands in the folder is a pod.
      const file = machine.file('/var/lib/kubelet/manifest.new');
      writeFileSync(file, JSON.stringify(manifestOf(name, container)));
      renameSync(file, machine.file(`${manifests}/${name}.json`));
    },
    remove(name) {
      rmSync(machine.file(`${manifests}/${name}.json`));
    },
    waitPod: (name) =>
      waitFor(`pod ${name} runs`, () => pod(name), {
        timeoutMs: 60_000,
        stepMs: 100,
        context: () => `${containerd.log().slice(-2_000)}\n${kubelet.log().slice(-3_000)}`,
      }),
    async restart() {
      await kubelet.stop();
      kubelet = await start();
    },
  };
}

const manifestOf = (name: string, container: object): object => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, namespace: 'default' },
  spec: {
    terminationGracePeriodSeconds: 1,
    containers: [{ name: 'only', image: judgeImage, imagePullPolicy: 'Never', ...container }],
  },
});

const line = (time: string, rest: string): RegExp => new RegExp(`^time="${time}" .*${rest}`, 'm');

/**
 * How long containerd took for a pod, by its own log: the sandbox with its network, and from the
 * request of it until the container runs. Undefined until it does.
 */
export function podTimes(
  containerd: Child,
  name: string,
): { readonly sandboxMs: number; readonly endMs: number; readonly wholeMs: number } | undefined {
  const log = containerd.log();
  const time = '([^"]+)';
  const meta = `PodSandboxMetadata\\{Name:${name}-alone,[^}]*\\}`;
  const asked = line(time, `RunPod[sS]andbox for &${meta}"`).exec(log);
  const made = line(time, `RunPod[sS]andbox for &${meta} returns sandbox id \\\\"(\\w+)`).exec(log);
  const container = line(
    time,
    `CreateContainer within sandbox \\\\"${made?.[2]}\\\\" .* returns container id \\\\"(\\w+)`,
  ).exec(log);
  const ran = line(time, `StartContainer for \\\\"${container?.[2]}\\\\" returns`).exec(log);
  const [from, sandbox, end] = [asked, made, ran].map((match) => Date.parse(match?.[1] ?? ''));
  if (from === undefined || sandbox === undefined || end === undefined || Number.isNaN(end)) {
    return undefined;
  }
  return { sandboxMs: sandbox - from, endMs: end, wholeMs: end - from };
}
