/** Which processors are said to have instructions for AES-GCM, by what their kernels print. */
import assert from 'node:assert/strict';
import { hasAesInstructions } from '../../../tincan-bridge/session/core/aes-instructions.ts';
import { suite } from '../../support/harness.ts';

const test = suite('aes instructions');

const x86 = (flags: string): string =>
  `processor\t: 0\nvendor_id\t: GenuineIntel\nflags\t\t: fpu vme ${flags} sse4_2\nbugs\t\t: spectre_v1\n\n`;
const arm = (features: string): string =>
  `processor\t: 0\nBogoMIPS\t: 108.00\nFeatures\t: ${features}\nCPU implementer\t: 0x41\n\n`;
/** As Raspberry Pi 4, Raspberry Pi 5, and a 32-bit kernel print them. */
const pi4 = arm('fp asimd evtstrm crc32 cpuid');
const pi5 = arm('fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid');
const armv7 = arm('half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt vfpd32 lpae');

const cases: readonly (readonly [what: string, cpuinfo: string, has: boolean | null])[] = [
  ['x86 with both', x86('pclmulqdq ssse3 aes xsave'), true],
  ['x86 without AES', x86('pclmulqdq ssse3 xsave'), false],
  ['x86 without the multiplication', x86('ssse3 aes xsave'), false],
  ['names that only begin so', x86('pclmulqdq vaes aes_kl'), false],
  ['Raspberry Pi 4', pi4, false],
  ['Raspberry Pi 5', pi5, true],
  ['32-bit ARM', armv7, false],
  ['the last flag of a line', 'flags : pclmulqdq aes', true],
  ['processors that differ', x86('pclmulqdq aes') + x86('pclmulqdq'), false],
  ['two that have them', x86('pclmulqdq aes') + x86('pclmulqdq aes'), true],
  ['a list that is empty', 'flags\t\t:\n', false],
  ['an architecture without lists', 'processor\t: 0\nhart\t: 1\nisa\t: rv64imafdc\n', null],
  ['a line that speaks of flags', 'power management flags\t: aes pclmulqdq\n', null],
  ['nothing', '', null],
];

for (const [what, cpuinfo, has] of cases) {
  test(what, () => assert.equal(hasAesInstructions(cpuinfo), has));
}
