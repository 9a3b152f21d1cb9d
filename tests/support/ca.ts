/**
 * A throw-away certificate authority, made by the openssl program so that what our own code must
 * accept was not made by our own code. Owns the files in its folder; never used outside tests.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { exec } from '../../base/exec.ts';

export interface Certificate {
  readonly certFile: string;
  readonly keyFile: string;
}

export interface CertificateOptions {
  /** Common name; also the name of the files. */
  readonly name: string;
  /** What Kubernetes takes for the group of a client. */
  readonly organization?: string;
  readonly dns?: readonly string[];
  readonly ips?: readonly string[];
  /** XMPP address (RFC 6120 section 13.7.1.4), for SASL EXTERNAL. */
  readonly jid?: string;
  /** Valid in 2020 only, or in 2040 only; default: today and tomorrow. */
  readonly validity?: 'past' | 'future';
}

export interface Ca extends Certificate {
  /** A certificate of this CA with a fresh P-256 key, PEM. */
  issue(options: CertificateOptions): Promise<Certificate>;
}

const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];

export async function createCa(folder: string, name = 'lab CA'): Promise<Ca> {
  mkdirSync(folder, { recursive: true });
  const certFile = join(folder, 'ca.crt');
  const keyFile = join(folder, 'ca.key');
  const files = ['-keyout', keyFile, '-out', certFile];
  const extensions = ['-addext', 'keyUsage=critical,keyCertSign,cRLSign'];
  const subject = ['-subj', `/CN=${name}`, '-days', '3'];
  await exec(['openssl', 'req', '-x509', ...newKey, ...files, ...subject, ...extensions]);
  const issue = async (options: CertificateOptions): Promise<Certificate> => {
    const made = {
      certFile: join(folder, `${options.name}.crt`),
      keyFile: join(folder, `${options.name}.key`),
    };
    if (options.validity !== undefined) {
      await issueAtOtherTime(folder, made, options);
      return made;
    }
    const signer = ['-CA', certFile, '-CAkey', keyFile];
    await exec([
      ...['openssl', 'req', '-x509', ...newKey, ...signer],
      ...['-keyout', made.keyFile, '-out', made.certFile],
      ...['-subj', subjectOf(options), '-days', '2'],
      ...['-addext', 'basicConstraints=critical,CA:false'],
      ...['-addext', `subjectAltName=${alternativeNames(options)}`],
    ]);
    return made;
  };
  return { certFile, keyFile, issue };
}

const subjectOf = ({ name, organization }: CertificateOptions): string =>
  `${organization === undefined ? '' : `/O=${organization}`}/CN=${name}`;

/** `openssl req -x509` cannot set dates before version 3.4, `openssl ca` can. */
async function issueAtOtherTime(
  folder: string,
  made: Certificate,
  options: CertificateOptions,
): Promise<void> {
  const config = join(folder, 'ca.cnf');
  const request = join(folder, `${options.name}.csr`);
  writeFileSync(join(folder, 'issued.db'), '');
  writeFileSync(
    config,
    `[ca]
default_ca = d
[d]
database = ${folder}/issued.db
rand_serial = yes
new_certs_dir = ${folder}
default_md = sha256
certificate = ${folder}/ca.crt
private_key = ${folder}/ca.key
policy = p
[p]
commonName = supplied
[e]
subjectAltName = ${alternativeNames(options)}
`,
  );
  const subject = ['-subj', `/CN=${options.name}`];
  await exec([
    'openssl',
    'req',
    '-new',
    ...newKey,
    ...subject,
    '-keyout',
    made.keyFile,
    '-out',
    request,
  ]);
  const year = options.validity === 'past' ? 2020 : 2040;
  const dates = ['-startdate', `${year}0101000000Z`, '-enddate', `${year + 1}0101000000Z`];
  const files = ['-in', request, '-out', made.certFile];
  await exec([
    'openssl',
    'ca',
    '-batch',
    '-notext',
    '-config',
    config,
    '-extensions',
    'e',
    ...dates,
    ...files,
  ]);
}

function alternativeNames({ name, dns = [], ips = [], jid }: CertificateOptions): string {
  const names = [...dns.map((x) => `DNS:${x}`), ...ips.map((x) => `IP:${x}`)];
  // id-on-xmppAddr; openssl before 3.2 has no name for it.
  if (jid !== undefined) names.push(`otherName:1.3.6.1.5.5.7.8.5;UTF8:${jid}`);
  return names.length === 0 ? `DNS:${name}` : names.join(',');
}
