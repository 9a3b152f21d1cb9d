/**
 * Whether this machine's processors compute AES-GCM in instructions of their own: without them
 * ChaCha20-Poly1305 is several times as fast (RFC 8439 appendix B), for example on a Raspberry Pi 4.
 * Owns the reading of `/proc/cpuinfo`'s text. Pure.
 */

/**
 * Instructions of AES and of GCM's multiplication, by the names that Linux has for them: x86 in
 * `flags`, ARM in `Features`.
 */
const needed: readonly (readonly [aes: string, multiply: string])[] = [
  ['aes', 'pclmulqdq'],
  ['aes', 'pmull'],
];

/**
 * Null when the text does not say: an architecture whose kernel lists no features. Of processors that
 * differ the weakest counts, since threads run on any.
 */
export function hasAesInstructions(cpuinfo: string): boolean | null {
  const lists = [...cpuinfo.matchAll(/^(?:flags|features)[ \t]*:(.*)$/gim)].map(
    ([, list = '']) => new Set(list.trim().split(/\s+/)),
  );
  if (lists.length === 0) return null;
  return lists.every((list) =>
    needed.some(([aes, multiply]) => list.has(aes) && list.has(multiply)),
  );
}
