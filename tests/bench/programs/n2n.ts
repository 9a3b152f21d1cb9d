/**
 * n2n with its supernode at the first end. Owns its command lines.
 */
import { missingProgram, type Program, programPath } from './program.ts';
import { startTwoEnds } from './two-ends.ts';

/** What it comes with: its headers are the longest. */
const defaultMtu = 1400;

export const n2n: Program = {
  name: 'n2n',
  rival: true,
  missing: () => missingProgram('edge') ?? missingProgram('supernode'),
  install: { kind: 'apt', packages: ['n2n'] },
  start(pair) {
    const supernode = pair.lab.spawn('a', [programPath('supernode'), '-l', '7654']);
    return startTwoEnds(
      pair,
      {
        dev: 'nn0',
        mtu: defaultMtu,
        // Debian's 1.3: in the foreground unless told -f.
        argv: (here) => [
          ...[programPath('edge'), '-d', 'nn0', '-a', here.overlay, '-s', '255.255.255.0'],
          ...['-c', 'bench', '-k', 'bench', '-M', `${defaultMtu}`, '-l', `${pair.a.underlay}:7654`],
        ],
      },
      [supernode],
    );
  },
};
