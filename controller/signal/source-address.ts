/**
 * Which of its addresses this host would use towards another one now. Owns the question to the
 * kernel (a UDP socket that is connected sends nothing).
 */
import { createSocket } from 'node:dgram';
import { isIP } from 'node:net';

/** Null when there is no way. */
export function sourceTowards(address: string, port: number): Promise<string | null> {
  return new Promise((resolve) => {
    const socket = createSocket(isIP(address) === 6 ? 'udp6' : 'udp4');
    const end = (source: string | null): void => {
      socket.close();
      resolve(source);
    };
    socket.once('error', () => end(null));
    socket.once('connect', () => end(socket.address().address));
    socket.connect(port, address);
  });
}
