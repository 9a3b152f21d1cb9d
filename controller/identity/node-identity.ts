/**
 * The identity key and certificate of this node: made at first start, read ever after. Owns the two
 * files; never overwrites one that it cannot use, since that would be a new node id.
 */
import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
} from 'node:crypto';
import { join } from 'node:path';
import { EvioError, messageOf } from '../../base/errors.ts';
import type { NodeId } from '../../base/ids.ts';
import { nodeIdOfSpki, readNodeCertificate, spkiOf } from '../../base/node-certificate.ts';
import { Secret } from '../../base/secret.ts';
import { prepareStateDirectory, readStateFile, writeStateFile } from './state-file.ts';

export interface NodeIdentity {
  readonly node: NodeId;
  readonly privateKey: KeyObject;
  /** For the DTLS side of the tunnel process. */
  readonly privateKeyPem: Secret;
  readonly certificatePem: string;
  readonly certificateDer: Uint8Array;
}

export interface IdentityOptions {
  readonly stateDirectory: string;
  /** Node id of the configuration, or null: then whatever the key gives. */
  readonly expectedNode: NodeId | null;
  /** Wall clock, milliseconds since the epoch. */
  readonly nowMs: number;
}

/** Loads the identity, or makes it where neither file exists. Throws `identity.*`. */
export async function loadIdentity(options: IdentityOptions): Promise<NodeIdentity> {
  const keyPath = join(options.stateDirectory, 'key.pem');
  const certificatePath = join(options.stateDirectory, 'certificate.pem');
  await prepareStateDirectory(options.stateDirectory);
  let keyFile = await readStateFile(keyPath, 'identity.unusable');
  const certificateFile = await readStateFile(certificatePath, 'identity.unusable');
  if (keyFile === null) {
    if (certificateFile !== null) {
      throw unusable(`${keyPath} is missing while ${certificatePath} exists`);
    }
    keyFile = { text: makeKey(), mode: 0o600 };
    await writeStateFile(keyPath, keyFile.text, 0o600);
  }
  if ((keyFile.mode & 0o077) !== 0) {
    const mode = keyFile.mode.toString(8).padStart(4, '0');
    throw unusable(
      `${keyPath} has mode ${mode}: others may have read it; run chmod 600 ${keyPath}`,
    );
  }
  const key = readKey(keyPath, keyFile.text);
  // Only the certificate is missing after a crash between the two writes: it follows from the key.
  const certificatePem =
    certificateFile?.text ?? (await writeCertificate(certificatePath, key, options.nowMs));
  const identity = pair(key, keyFile.text, certificatePath, certificatePem);
  if (options.expectedNode !== null && options.expectedNode !== identity.node) {
    throw new EvioError(
      'identity.mismatch',
      `configured node id is ${options.expectedNode}, ${keyPath} gives ${identity.node}`,
    );
  }
  return identity;
}

function makeKey(): string {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
  return privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
}

interface KeyWithSpki {
  readonly privateKey: KeyObject;
  readonly spki: Uint8Array;
}

function readKey(path: string, pem: string): KeyWithSpki {
  let privateKey: KeyObject;
  try {
    privateKey = createPrivateKey(pem);
  } catch (error) {
    throw unusable(`${path} holds no usable private key: ${messageOf(error)}`, error);
  }
  const spki = spkiOf(createPublicKey(privateKey));
  if (spki === null) {
    const { asymmetricKeyType, asymmetricKeyDetails } = privateKey;
    const found = asymmetricKeyDetails?.namedCurve ?? asymmetricKeyType ?? 'another kind';
    throw unusable(`${path} holds a key of ${found}, not of ECDSA P-256 (prime256v1)`);
  }
  return { privateKey, spki };
}

async function writeCertificate(path: string, key: KeyWithSpki, nowMs: number): Promise<string> {
  const pkcs8 = key.privateKey.export({ type: 'pkcs8', format: 'der' });
  const { makeCertificate } = await import('./make-certificate.ts');
  const pem = await makeCertificate(Uint8Array.from(pkcs8), Uint8Array.from(key.spki), nowMs);
  await writeStateFile(path, pem, 0o644);
  return pem;
}

function pair(
  key: KeyWithSpki,
  keyPem: string,
  path: string,
  certificatePem: string,
): NodeIdentity {
  let certificate: ReturnType<typeof readNodeCertificate>;
  try {
    certificate = readNodeCertificate(certificatePem);
  } catch (error) {
    throw unusable(`${path} holds no usable certificate: ${messageOf(error)}`, error);
  }
  const node = nodeIdOfSpki(key.spki);
  if (certificate.node !== node) {
    throw unusable(`${path} is of node ${certificate.node}, the key is of node ${node}`);
  }
  return {
    node,
    privateKey: key.privateKey,
    privateKeyPem: new Secret(keyPem),
    certificatePem,
    certificateDer: certificate.der,
  };
}

const unusable = (message: string, cause?: unknown): EvioError =>
  new EvioError('identity.unusable', message, { cause });
