/**
 * Sends datagrams that no peer would: empty, cut off, too large, random, and what looks like STUN or
 * DTLS but is not. Owns one socket; run as a program in a namespace.
 *
 * Usage: garbage.js ADDRESS PORT COUNT
 */
import { randomBytes, randomInt } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { setTimeout as delay } from 'node:timers/promises';

const [address = '', port = '0', count = '0'] = process.argv.slice(2);

/** DTLS 1.2 record header (RFC 6347 section 4.1): type, version, epoch, sequence, length. */
function dtls(type: number, epoch: number, length: number): Buffer {
  const record = randomBytes(13 + length);
  record.writeUInt8(type, 0);
  record.writeUInt16BE(0xfefd, 1);
  record.writeUInt16BE(epoch, 3);
  record.writeUInt16BE(randomInt(4) === 0 ? 0xffff : length, 11);
  return record;
}

/** STUN header (RFC 8489 section 5) with the magic cookie, and nonsense behind it. */
function stun(): Buffer {
  const message = randomBytes(20 + 4 * randomInt(64));
  message.writeUInt16BE([0x0001, 0x0101, 0x0111, 0x0003][randomInt(4)] ?? 1, 0);
  message.writeUInt16BE(message.length - 20, 2);
  message.writeUInt32BE(0x2112a442, 4);
  return message;
}

const makers: ReadonlyArray<() => Buffer> = [
  () => Buffer.alloc(0),
  () => randomBytes(randomInt(1, 13)),
  () => randomBytes(randomInt(13, 1_400)),
  () => randomBytes(9_000),
  () => dtls(23, 1, randomInt(1_400)),
  () => dtls(23, randomInt(65_536), 64),
  () => dtls(22, 0, randomInt(300)),
  () => dtls(20 + randomInt(6), 0, 2),
  stun,
  () => stun().subarray(0, 19),
];

const socket = createSocket('udp4');
for (let sent = 0; sent < Number(count); sent += 1) {
  const made = makers[sent % makers.length]?.() ?? Buffer.alloc(0);
  socket.send(made, Number(port), address);
  if (sent % 50 === 49) await delay(5);
}
await delay(100);
socket.close();
