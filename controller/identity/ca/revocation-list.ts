/**
 * Reads the revocation list of an overlay's CA (RFC 5280 section 5). Owns what makes a list usable;
 * imports the x509 library, so it is loaded only where a list is configured.
 */
import 'reflect-metadata';
import { webcrypto } from 'node:crypto';
import * as x509 from '@peculiar/x509';
import { messageOf } from '../../../base/errors.ts';
import { maxRevoked, type OverlayCa, serialOf } from '../../../base/overlay-certificate.ts';

/** Room for `maxRevoked` entries with extensions that we do not write ourselves. */
const maxListChars = 1 << 20;

export interface RevocationList {
  /** CRLNumber; 0 when the list has none. */
  readonly number: number;
  readonly thisUpdateMs: number;
  /** When the next one should be there; null when the CA does not say. */
  readonly nextUpdateMs: number | null;
  /** Serials as `serialOf` gives them. */
  readonly revoked: readonly string[];
}

/** Throws a plain Error that says what is wrong with the list, for whatever text. */
export async function readRevocationList(text: string, ca: OverlayCa): Promise<RevocationList> {
  if (text.length > maxListChars) {
    throw new Error(`${text.length} characters, at most ${maxListChars}`);
  }
  if (text.match(/-----BEGIN X509 CRL-----/g)?.length !== 1) {
    throw new Error('it holds no PEM revocation list (X509 CRL), or more than one');
  }
  let list: x509.X509Crl;
  let genuine: boolean;
  try {
    const signer = new x509.X509Certificate(Uint8Array.from(ca.x509.raw));
    list = new x509.X509Crl(text);
    const issuers = [list.issuerName, signer.subjectName].map((n) =>
      Buffer.from(n.toArrayBuffer()),
    );
    const [ofList, ofCa] = issuers;
    if (ofList === undefined || ofCa === undefined || !ofList.equals(ofCa)) {
      throw new Error(`its issuer is ${list.issuer.slice(0, 100)}, not the CA`);
    }
    genuine = await list.verify({ publicKey: signer }, webcrypto);
  } catch (error) {
    throw new Error(`not a usable revocation list: ${messageOf(error)}`, { cause: error });
  }
  if (!genuine) throw new Error('the CA did not sign the revocation list');
  return contentOf(list);
}

function contentOf(list: x509.X509Crl): RevocationList {
  try {
    const entries = list.entries;
    if (entries.length > maxRevoked) {
      throw new Error(`${entries.length} certificates are revoked, at most ${maxRevoked}`);
    }
    // A list with a critical extension is not what it seems, such as a delta (section 5.2).
    const extensions = [...list.extensions, ...entries.flatMap((entry) => entry.extensions)];
    const critical = extensions.find((extension) => extension.critical);
    if (critical !== undefined) throw new Error(`unknown critical extension ${critical.type}`);
    return {
      number: numberOf(list.getExtension('2.5.29.20')),
      thisUpdateMs: list.thisUpdate.getTime(),
      nextUpdateMs: list.nextUpdate?.getTime() ?? null,
      revoked: entries.map(serialOf),
    };
  } catch (error) {
    throw new Error(`not a usable revocation list: ${messageOf(error)}`, { cause: error });
  }
}

/** A DER INTEGER of at most 48 bits. */
function numberOf(extension: x509.Extension | null): number {
  if (extension === null) return 0;
  const bytes = Buffer.from(extension.value);
  const length = bytes[1] ?? 0;
  if (bytes[0] !== 0x02 || length < 1 || length > 6 || bytes.length !== 2 + length) {
    throw new Error('its number is not an integer of at most 48 bits');
  }
  return bytes.readUIntBE(2, length);
}
