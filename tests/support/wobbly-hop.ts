/**
 * A hop that loses and delays: datagrams between two ports of 127.0.0.1, each one an Ethernet frame
 * that socat took from a TAP (see `wobbly-cable.ts`). Owns two sockets; run as a program in a
 * namespace.
 *
 * Usage: wobbly-hop.js PORT-A PORT-B SOCAT-A SOCAT-B LOSS-PERCENT LATE-PERCENT LATE-MS
 */
import { createSocket, type Socket } from 'node:dgram';

const [portA = 0, portB = 0, socatA = 0, socatB = 0, loss = 0, late = 0, lateMs = 0] = process.argv
  .slice(2)
  .map(Number);
const percent = (): number => Math.random() * 100;
const arp = 0x0806;

/** socat takes datagrams only from the port that it sends to. */
function carry(from: Socket, by: Socket, to: number): void {
  from.on('message', (frame) => {
    const send = (): void => by.send(frame, to, '127.0.0.1');
    // ARP is spared: neighbours would take seconds to find each other.
    if (frame.length < 14 || frame.readUInt16BE(12) === arp) send();
    else if (percent() < loss) return;
    else if (percent() < late) setTimeout(send, Math.random() * lateMs);
    else send();
  });
}

const [a, b] = [createSocket('udp4'), createSocket('udp4')];
a.bind(portA, '127.0.0.1');
b.bind(portB, '127.0.0.1');
carry(a, b, socatB);
carry(b, a, socatA);
process.stdout.write('carrying\n');
