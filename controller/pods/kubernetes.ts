/**
 * This node's pod ranges from the Kubernetes API: `spec.podCIDRs` of its Node, by plain HTTPS with
 * the server's certificate verified. Owns the asking and its pace; never writes to the cluster, and
 * keeps no credential longer than a request.
 */
import { readFileSync } from 'node:fs';
import { request } from 'node:https';
import { dirname, resolve } from 'node:path';
import { z } from 'zod';
import type { Clock } from '../../base/clock.ts';
import { EvioError, messageOf } from '../../base/errors.ts';
import { type KubeAccess, type Material, parseKubeconfig } from './core/kubeconfig.ts';

export interface KubernetesSource {
  /** Path of a kubeconfig, or null: the service account of the pod that we run in. */
  readonly kubeconfig: string | null;
  readonly nodeName: string;
}

export interface KubernetesDeps {
  readonly clock: Clock;
  readonly random: () => number;
  /** What a pod is told of its API server. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly found: (ranges: readonly string[]) => void;
  readonly failed: (why: string) => void;
}

/** For one answer; a node object has some tens of kilobytes. */
const timeoutMs = 10_000;
const maxAnswerBytes = 4 << 20;
/** Until the ranges are known, then to see that they were changed (a node that was made anew). */
const pace = { firstMs: 1_000, mostMs: 30_000, knownMs: 60_000 } as const;

const accountFolder = '/var/run/secrets/kubernetes.io/serviceaccount';

const Node = z.looseObject({
  spec: z
    .looseObject({
      podCIDR: z.string().max(49).optional(),
      podCIDRs: z.array(z.string().max(49)).max(8).optional(),
    })
    .optional(),
});

/** Asks until the signal aborts. */
export function followNode(
  source: KubernetesSource,
  deps: KubernetesDeps,
  signal: AbortSignal,
): void {
  const ask = (waitedMs: number): void => {
    readPodRanges(source, deps.environment, signal).then(
      (ranges) => {
        if (signal.aborted) return;
        if (ranges.length > 0) deps.found(ranges);
        else
          deps.failed(
            `node ${source.nodeName} has no podCIDRs yet (kube-controller-manager --allocate-node-cidrs)`,
          );
        again(ranges.length > 0 ? 0 : waitedMs);
      },
      (error: unknown) => {
        if (signal.aborted) return;
        deps.failed(`kubernetes API: ${messageOf(error)}`);
        again(waitedMs);
      },
    );
  };
  const again = (waitedMs: number): void => {
    const nextMs = waitedMs === 0 ? pace.firstMs : Math.min(pace.mostMs, waitedMs * 2);
    const delayMs = waitedMs === 0 ? pace.knownMs : nextMs;
    deps.clock.after(delayMs * (0.75 + deps.random() / 2), signal, () => ask(nextMs));
  };
  ask(pace.firstMs / 2);
}

/** One question. Throws when there is no answer, or none that can be believed. */
export async function readPodRanges(
  { kubeconfig, nodeName }: KubernetesSource,
  environment: KubernetesDeps['environment'],
  signal: AbortSignal,
): Promise<readonly string[]> {
  const { access, folder } =
    kubeconfig === null ? serviceAccount(environment) : fromFile(kubeconfig);
  const read = (material: Material | null): string | undefined => readMaterial(material, folder);
  const token = read(access.token)?.trim();
  const url = new URL(`/api/v1/nodes/${encodeURIComponent(nodeName)}`, access.server);
  const text = await get(url, {
    ca: read(access.ca),
    cert: read(access.certificate),
    key: read(access.key),
    servername: access.tlsServerName ?? undefined,
    headers: {
      accept: 'application/json',
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
    },
    signal: AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]),
  });
  const { spec } = Node.parse(JSON.parse(text));
  return spec?.podCIDRs ?? (spec?.podCIDR === undefined ? [] : [spec.podCIDR]);
}

interface Found {
  readonly access: KubeAccess;
  /** Where relative file names begin. */
  readonly folder: string;
}

function fromFile(file: string): Found {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw new EvioError('config.unreadable', `kubeconfig ${file}: ${messageOf(error)}`, {
      cause: error,
    });
  }
  return { access: parseKubeconfig(text), folder: dirname(file) };
}

function serviceAccount(environment: KubernetesDeps['environment']): Found {
  const host = environment['KUBERNETES_SERVICE_HOST'];
  const port = environment['KUBERNETES_SERVICE_PORT'] ?? '443';
  if (host === undefined || host === '') {
    throw new EvioError(
      'config.invalid',
      'not in a pod (KUBERNETES_SERVICE_HOST is not set): name a Kubeconfig',
    );
  }
  const server = `https://${host.includes(':') ? `[${host}]` : host}:${port}`;
  const file = (name: string): Material => ({ kind: 'file', path: name });
  return {
    access: {
      server,
      tlsServerName: null,
      ca: file('ca.crt'),
      token: file('token'),
      certificate: null,
      key: null,
    },
    folder: accountFolder,
  };
}

function readMaterial(material: Material | null, folder: string): string | undefined {
  if (material === null) return undefined;
  if (material.kind !== 'file') {
    return Buffer.from(material.value, material.kind === 'text' ? 'utf8' : 'base64').toString(
      'utf8',
    );
  }
  const path = resolve(folder, material.path);
  try {
    return readFileSync(path, 'utf8'); // each time: tokens and certificates are replaced in place
  } catch (error) {
    throw new EvioError('config.unreadable', `${path}: ${messageOf(error)}`, { cause: error });
  }
}

interface GetOptions {
  readonly ca: string | undefined;
  readonly cert: string | undefined;
  readonly key: string | undefined;
  readonly servername: string | undefined;
  readonly headers: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
}

function get(
  url: URL,
  { ca, cert, key, servername, headers, signal }: GetOptions,
): Promise<string> {
  const tls = {
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    ...(servername === undefined ? {} : { servername }),
  };
  return new Promise((done, fail) => {
    request(
      url,
      { ...tls, headers, signal, agent: false, rejectUnauthorized: true },
      (response) => {
        const chunks: Buffer[] = [];
        let bytes = 0;
        response.on('data', (chunk: Buffer) => {
          bytes += chunk.length;
          if (bytes > maxAnswerBytes) response.destroy(new Error('the answer is too large'));
          else chunks.push(chunk);
        });
        response.on('error', fail);
        response.on('end', () => {
          if (response.statusCode === 200) done(Buffer.concat(chunks).toString('utf8'));
          else fail(new Error(`${url.pathname} answers ${response.statusCode}`));
        });
      },
    )
      .on('error', fail)
      .end();
  });
}
