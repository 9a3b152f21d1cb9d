/**
 * OpenVPN point to point on TAP devices over UDP, TLS with certificates of a throw-away CA. Owns
 * its command line.
 */
import { join } from 'node:path';
import { createCa } from '../../support/ca.ts';
import { innerMtu, missingProgram, type Program, programPath } from './program.ts';
import { startTwoEnds } from './two-ends.ts';

export const openvpn: Program = {
  name: 'openvpn',
  rival: true,
  missing: () => missingProgram('openvpn'),
  install: { kind: 'apt', packages: ['openvpn'] },
  async start(pair) {
    const ca = await createCa(join(pair.lab.folder, 'openvpn'));
    const certificates = {
      a: await ca.issue({ name: 'a' }),
      b: await ca.issue({ name: 'b' }),
    };
    return startTwoEnds(pair, {
      dev: 'ov0',
      argv: (here, there) => [
        ...[programPath('openvpn'), '--dev', 'ov0', '--dev-type', 'tap', '--proto', 'udp'],
        ...['--local', here.underlay, '--remote', there.underlay, '--port', '1194'],
        ...(here.ns === 'a' ? ['--tls-server', '--dh', 'none'] : ['--tls-client']),
        ...['--ca', ca.certFile, '--cert', certificates[here.ns].certFile],
        ...['--key', certificates[here.ns].keyFile, '--tun-mtu', `${innerMtu}`],
        ...['--cipher', 'AES-128-GCM', '--data-ciphers', 'AES-128-GCM', '--mssfix', '0'],
        ...['--verb', '1'],
      ],
    });
  },
};
