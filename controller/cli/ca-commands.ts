/**
 * `evio ca`: the CA of an overlay, in a folder, with no controller involved. Owns the reading of its
 * options and files; what is signed is decided in `identity/ca`, loaded only here.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { EvioError, messageOf } from '../../base/errors.ts';
import { NodeId, OverlayId } from '../../base/ids.ts';
import { Secret } from '../../base/secret.ts';
import { readStateDirectory } from '../../config/load.ts';
import { formatIssued } from './core/ca.ts';
import { printJson, printLines, screenOf } from './output.ts';
import { parse } from './trust-commands.ts';

const maxRequestBytes = 65_536;

export interface CaOptions {
  readonly dir: string;
  readonly passphraseFile?: string;
  readonly json?: boolean;
}

export async function caInitCommand(
  options: CaOptions & {
    readonly overlay: string;
    readonly days: string;
    readonly crlDays: string;
  },
): Promise<void> {
  const { initCa } = await import('../identity/ca/index.ts');
  const overlay = parse(OverlayId, '--overlay', options.overlay);
  const { certificate } = await initCa({
    ...placeFrom(options),
    overlay,
    days: days('--days', options.days),
    crlDays: days('--crl-days', options.crlDays),
  });
  if (options.json === true) printJson({ overlay, directory: options.dir, certificate });
  else {
    printLines([
      `CA of overlay ${overlay} in ${options.dir}`,
      `give every node ${certificate} (CaFile) and crl.pem beside it (CrlFile); keep ca.key here`,
    ]);
  }
}

export async function caSignCommand(
  file: string,
  options: CaOptions & {
    readonly nodeId?: string;
    readonly name: string;
    readonly days: string;
    readonly out?: string;
  },
): Promise<void> {
  const { inspectRequest, signNode } = await import('../identity/ca/index.ts');
  const request = readText(file);
  if (options.nodeId === undefined) {
    const { node } = await inspectRequest(request, file);
    const command = `evio ca sign ${file} --dir ${options.dir} --name ${options.name} --node-id ${node}`;
    throw new EvioError(
      'ca.refused',
      `${file} is of node ${node}: compare that with what the node itself shows, then run ${command}`,
    );
  }
  const {
    issued,
    overlay,
    file: copy,
  } = await signNode({
    ...placeFrom(options),
    request,
    from: file,
    node: parse(NodeId, '--node-id', options.nodeId),
    name: options.name,
    days: days('--days', options.days),
    out: options.out ?? null,
  });
  const written = options.out ?? copy;
  if (options.json === true) printJson({ ...issued, overlay, file: written });
  else {
    const { node, name, serial, notAfter } = issued;
    printLines([
      `signed node ${node} as "${name}" in overlay ${overlay}`,
      `serial ${serial}, valid until ${notAfter}`,
      `certificate ${written} (CertFile of that node)`,
    ]);
  }
}

export async function caRevokeCommand(
  which: string,
  options: CaOptions & { readonly crlDays: string },
): Promise<void> {
  const { revokeNode } = await import('../identity/ca/index.ts');
  const crlDays = days('--crl-days', options.crlDays);
  const revoked = await revokeNode({ ...placeFrom(options), which, crlDays });
  const crl = join(options.dir, 'crl.pem');
  if (options.json === true) printJson({ revoked, crl });
  else {
    printLines([
      ...revoked.map(({ serial, name, node }) => `revoked ${serial} of node ${node} ("${name}")`),
      `bring ${crl} to every node: it takes effect there within seconds`,
    ]);
  }
}

export async function caCrlCommand(
  options: CaOptions & { readonly crlDays: string },
): Promise<void> {
  const { renewList } = await import('../identity/ca/index.ts');
  await renewList({ ...placeFrom(options), crlDays: days('--crl-days', options.crlDays) });
  const crl = join(options.dir, 'crl.pem');
  if (options.json === true) printJson({ crl });
  else printLines([`revocation list renewed: ${crl}`]);
}

export async function caListCommand(options: CaOptions): Promise<void> {
  const { listCa } = await import('../identity/ca/index.ts');
  const listing = await listCa(options.dir, Date.now());
  if (options.json === true) printJson(listing);
  else printLines(formatIssued(screenOf(process.stdout), listing));
}

/** The node's side: makes its identity if there is none, and prints what the CA is to sign. */
export async function caRequestCommand(options: {
  readonly config: string;
  readonly stateDirectory?: string;
  readonly json?: boolean;
}): Promise<void> {
  const { loadIdentity } = await import('../identity/index.ts');
  const stateDirectory = options.stateDirectory ?? readStateDirectory(options.config);
  const identity = await loadIdentity({ stateDirectory, expectedNode: null, nowMs: Date.now() });
  const { node, certificatePem } = identity;
  if (options.json === true) {
    printJson({ node, certificate: certificatePem, file: join(stateDirectory, 'certificate.pem') });
    return;
  }
  process.stderr.write(`evio: node id ${node}; tell it to the CA by another way than the file\n`);
  process.stdout.write(certificatePem);
}

const placeFrom = ({ dir, passphraseFile }: CaOptions) => ({
  directory: dir,
  passphrase: passphraseFile === undefined ? null : readPassphrase(passphraseFile),
  nowMs: Date.now(),
});

function readPassphrase(file: string): Secret {
  const text = readText(file).replace(/\r?\n$/, '');
  if (text === '') throw new EvioError('secret.unreadable', `passphrase file ${file} is empty`);
  return new Secret(text);
}

function readText(file: string): string {
  try {
    const bytes = readFileSync(file);
    if (bytes.length > maxRequestBytes) throw new Error(`larger than ${maxRequestBytes} bytes`);
    return bytes.toString('utf8');
  } catch (error) {
    throw new EvioError('secret.unreadable', `${file} cannot be read: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

const Days = z
  .string()
  .regex(/^[1-9]\d{0,4}$/, 'must be 1 to 36500 days')
  .transform(Number)
  .refine((count) => count <= 36_500, 'must be 1 to 36500 days');
const days = (option: string, text: string): number => parse(Days, option, text);
