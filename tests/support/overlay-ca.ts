/**
 * An overlay's CA as an operator makes it, and nodes that it signs, in temporary folders. Owns the
 * folders; uses the product's own CA, which openssl judges in its tests.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type NodeId, OverlayId } from '../../base/ids.ts';
import { initCa, revokeNode, type Signed, signNode } from '../../controller/identity/ca/index.ts';
import type { NodeIdentity } from '../../controller/identity/index.ts';

export interface OverlayCaFolder {
  readonly directory: string;
  readonly certificateFile: string;
  readonly crlFile: string;
  readonly certificatePem: string;
  sign(
    node: Pick<NodeIdentity, 'node' | 'certificatePem'>,
    name: string,
    options?: { readonly days?: number; readonly nowMs?: number; readonly out?: string },
  ): Promise<Signed>;
  revoke(which: NodeId | string, nowMs?: number): Promise<void>;
}

/** A CA of overlay `lab` (or another), made at `nowMs`. */
export async function makeOverlayCa(
  directory: string,
  nowMs: number,
  overlay = 'lab',
): Promise<OverlayCaFolder> {
  const place = { directory, passphrase: null };
  await initCa({ ...place, nowMs, overlay: OverlayId.parse(overlay), days: 3_650, crlDays: 30 });
  const certificateFile = join(directory, 'ca.pem');
  return {
    directory,
    certificateFile,
    crlFile: join(directory, 'crl.pem'),
    certificatePem: readFileSync(certificateFile, 'utf8'),
    sign: ({ node, certificatePem }, name, { days = 825, out, ...at } = {}) =>
      signNode({
        ...place,
        nowMs: at.nowMs ?? nowMs,
        request: certificatePem,
        from: 'test',
        node,
        name,
        days,
        out: out ?? null,
      }),
    revoke: async (which, atMs = nowMs) => {
      await revokeNode({ ...place, nowMs: atMs, which, crlDays: 30 });
    },
  };
}
