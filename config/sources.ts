/**
 * Reads what the configuration names: password files, variables, credentials, certificates. Owns
 * the checks on them; what cannot be used becomes a finding, and an empty value takes its place.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { messageOf } from '../base/errors.ts';
import type { NodeId, OverlayId } from '../base/ids.ts';
import { readNodeCertificate } from '../base/node-certificate.ts';
import {
  certificateProblem,
  placeOf,
  readOverlayCa,
  readPemCertificate,
} from '../base/overlay-certificate.ts';
import { Secret } from '../base/secret.ts';
import { type Finding, wrongValue } from './check.ts';
import type { JsonPath, JsonText } from './core/json-text.ts';
import type { PasswordKey, PasswordKeys } from './schema.ts';

export type Environment = Readonly<Record<string, string | undefined>>;

/** Longest file that is read, bytes. */
const maxSourceBytes = 262_144;

export interface SourcesOptions {
  /** Relative paths start here: the folder of the configuration file. */
  readonly folder: string;
  readonly environment: Environment;
  readonly json: JsonText;
  /** For a check, what only the service's environment has is a warning. */
  readonly purpose: 'run' | 'check';
}

/** Whom a certificate of an overlay's CA must be for. */
export interface CertificateOwner {
  readonly overlay: OverlayId;
  readonly name: string;
  readonly stateDirectory: string;
}

export class Sources {
  readonly findings: Finding[] = [];
  readonly #options: SourcesOptions;

  constructor(options: SourcesOptions) {
    this.#options = options;
  }

  /** The one password that is named below `path`. */
  password(path: JsonPath, keys: PasswordKeys): Secret {
    if (keys.Password !== undefined) return new Secret(keys.Password);
    if (keys.PasswordFile !== undefined) {
      return this.#passwordFile([...path, 'PasswordFile'], keys.PasswordFile);
    }
    if (keys.PasswordEnv !== undefined) {
      const text = this.#options.environment[keys.PasswordEnv] ?? '';
      const message = 'this environment variable is not set or empty';
      return text === '' ? this.#notHere(path, 'PasswordEnv', message) : new Secret(text);
    }
    const folder = this.#options.environment['CREDENTIALS_DIRECTORY'] ?? '';
    if (folder === '') {
      const message = 'there are no systemd credentials (CREDENTIALS_DIRECTORY is not set)';
      return this.#notHere(path, 'PasswordCredential', message);
    }
    const file = resolve(folder, keys.PasswordCredential ?? '');
    return this.#passwordFile([...path, 'PasswordCredential'], file);
  }

  /** The text of an environment variable that is no secret; empty, with a finding, where not set. */
  variable(path: JsonPath, name: string): string {
    const text = this.#options.environment[name] ?? '';
    if (text !== '') return text;
    const severity = this.#options.purpose === 'check' ? 'warning' : 'error';
    const message = 'this environment variable is not set or empty';
    this.findings.push(wrongValue(this.#options.json, path, message, severity));
    return '';
  }

  /** A path as the configuration writes it, absolute. */
  pathOf(file: string): string {
    return resolve(this.#options.folder, file);
  }

  /** PEM with one certificate or more, as it stands in the file. */
  certificates(path: JsonPath, file: string, maxChars = maxSourceBytes): string {
    const pem = this.#text(path, file);
    if (pem === null) return '';
    try {
      const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
      if (pem.length > maxChars) throw new Error(`longer than ${maxChars} characters`);
      if (blocks.length === 0) throw new Error('no PEM certificate in it');
      for (const block of blocks) new X509Certificate(block);
      return pem;
    } catch (error) {
      this.#problem(path, `cannot be used as certificate: ${messageOf(error)}`);
      return '';
    }
  }

  /** PEM of the private key that belongs to the certificate. */
  privateKey(path: JsonPath, file: string, certificate: string): Secret {
    const pem = this.#text(path, file);
    if (pem === null || certificate === '') return new Secret('');
    try {
      const key = createPrivateKey(pem);
      if (!new X509Certificate(certificate).checkPrivateKey(key)) {
        throw new Error('it does not belong to the certificate in CertFile');
      }
      this.#warnIfPublic(path, file);
    } catch (error) {
      this.#problem(path, `cannot be used as private key: ${messageOf(error)}`);
    }
    return new Secret(pem);
  }

  /** PEM of the CA of an overlay. */
  overlayCa(path: JsonPath, file: string): string {
    return this.#judged(path, file, (pem) => void readOverlayCa(pem));
  }

  /** PEM of the certificate that the CA has signed for this node; its time is not judged here. */
  nodeCertificate(path: JsonPath, file: string, ca: string, owner: CertificateOwner): string {
    return this.#judged(path, file, (pem) => {
      const x509 = readPemCertificate(pem);
      const { node } = readNodeCertificate(pem);
      const place = placeOf(x509);
      if (place === null) throw new Error('it was not made by the CA of an overlay (evio ca sign)');
      if (place.name !== owner.name) {
        throw new Error(`it is for node "${place.name}", this one is "${owner.name}" (NodeName)`);
      }
      const self = this.#ownNode(owner.stateDirectory);
      if (self !== null && self !== node) {
        throw new Error(`it is of node ${node}, the identity of this one is ${self}`);
      }
      if (ca === '') return; // the CA's own problem is told already
      const { overlay } = owner;
      const expected = { ca: readOverlayCa(ca), overlay, node, revoked: new Set<string>() };
      const problem = certificateProblem(x509, expected, x509.validFromDate.getTime());
      if (problem !== null) throw new Error(problem);
    });
  }

  /** The absolute path of a revocation list that is there; the controller verifies and rereads it. */
  revocationList(path: JsonPath, file: string): string {
    const text = this.#text(path, file);
    if (text !== null && !text.includes('-----BEGIN X509 CRL-----')) {
      this.#problem(path, 'cannot be used as revocation list: no PEM "X509 CRL" in it');
    }
    return resolve(this.#options.folder, file);
  }

  /** Node id of the identity that this node has already, or null: it is made at the first start. */
  #ownNode(stateDirectory: string): NodeId | null {
    try {
      return readNodeCertificate(readFileSync(join(stateDirectory, 'certificate.pem'), 'utf8'))
        .node;
    } catch {
      return null; // missing, or not for us to read: the controller compares again
    }
  }

  #judged(path: JsonPath, file: string, judge: (pem: string) => void): string {
    const pem = this.#text(path, file);
    if (pem === null) return '';
    try {
      judge(pem);
      return pem;
    } catch (error) {
      this.#problem(path, `cannot be used as certificate: ${messageOf(error)}`);
      return '';
    }
  }

  #passwordFile(path: JsonPath, file: string): Secret {
    const text = this.#text(path, file);
    if (text === null) return new Secret('');
    const password = text.replace(/\r?\n$/, '');
    if (password === '') this.#problem(path, 'the file is empty');
    this.#warnIfPublic(path, file);
    return new Secret(password);
  }

  #notHere(path: JsonPath, key: PasswordKey, message: string): Secret {
    const isCheck = this.#options.purpose === 'check';
    this.#problem(
      [...path, key],
      isCheck ? `${message} here; the service needs it` : message,
      isCheck ? 'warning' : 'error',
    );
    return new Secret('');
  }

  #text(path: JsonPath, file: string): string | null {
    try {
      const bytes = readFileSync(resolve(this.#options.folder, file));
      if (bytes.length > maxSourceBytes) throw new Error(`larger than ${maxSourceBytes} bytes`);
      return bytes.toString('utf8');
    } catch (error) {
      this.#problem(path, `cannot be read: ${messageOf(error)}`);
      return null;
    }
  }

  #warnIfPublic(path: JsonPath, file: string): void {
    if (!isWorldReadable(resolve(this.#options.folder, file))) return;
    this.#problem(path, 'everybody can read this file: chmod 600', 'warning');
  }

  #problem(path: JsonPath, message: string, severity: Finding['severity'] = 'error'): void {
    this.findings.push(wrongValue(this.#options.json, path, message, severity));
  }
}

/** False also when the file does not exist. */
export function isWorldReadable(file: string): boolean {
  const mode = statSync(file, { throwIfNoEntry: false })?.mode ?? 0;
  return (mode & 0o004) !== 0;
}
