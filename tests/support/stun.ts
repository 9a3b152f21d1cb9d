/**
 * STUN binding requests of ICE made by hand (RFC 8489, RFC 8445 section 7.2), so that tests do not
 * ask the library that they test. Owns nothing.
 */
import { createHmac, randomBytes } from 'node:crypto';

const attribute = (type: number, value: Buffer): Buffer => {
  const head = Buffer.alloc(4);
  head.writeUInt16BE(type, 0);
  head.writeUInt16BE(value.length, 2);
  return Buffer.concat([head, value, Buffer.alloc((4 - (value.length % 4)) % 4)]);
};

/** A check for the side with these credentials, from a controlled peer. */
export function bindingRequest(ufrag: string, password: string): Buffer {
  const body = Buffer.concat([
    attribute(0x0006, Buffer.from(`${ufrag}:peer`)),
    attribute(0x0024, Buffer.of(0x6e, 0, 0, 0xff)),
    attribute(0x8029, Buffer.alloc(8)),
  ]);
  const head = Buffer.alloc(20);
  head.writeUInt16BE(1, 0);
  head.writeUInt16BE(body.length + 24, 2); // MESSAGE-INTEGRITY counts itself
  head.writeUInt32BE(0x2112_a442, 4);
  randomBytes(12).copy(head, 8);
  const text = Buffer.concat([head, body]);
  const seal = createHmac('sha1', password).update(text).digest();
  return Buffer.concat([text, attribute(0x0008, seal)]);
}
