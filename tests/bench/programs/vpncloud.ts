/**
 * vpncloud as a learning switch on TAP devices, with the one cipher that it would choose itself.
 * Owns its command line.
 */
import { cacheFolder, missingProgram, type Program, programPath } from './program.ts';
import { startTwoEnds } from './two-ends.ts';

export const vpncloud: Program = {
  name: 'vpncloud',
  rival: true,
  missing: () => missingProgram('vpncloud'),
  install: {
    kind: 'build',
    argv: ['cargo', 'install', '--root', cacheFolder, 'vpncloud'],
    env: {},
  },
  start: (pair) =>
    startTwoEnds(pair, {
      dev: 'vc0',
      // What it reckons itself; 1420 would be sent in two fragments.
      mtu: 1413,
      argv: (here, there) => [
        ...[programPath('vpncloud'), '--type', 'tap', '--mode', 'switch', '--device', 'vc0'],
        // Else it clears the address that it is given from outside.
        ...['--ip', `${here.overlay}/24`],
        ...['--listen', `${here.underlay}:3210`, '--peer', `${there.underlay}:3210`],
        ...['--password', 'bench', '--algorithm', 'aes128', '--no-port-forwarding', '--quiet'],
      ],
    }),
};
