/**
 * A map that peers can make grow: it has a largest size. Owns the rule that the oldest entry gives way.
 */

/** `key` counts as new, also where it was there already. */
export function remember<K, V>(map: Map<K, V>, key: K, value: V, max: number): void {
  map.delete(key);
  map.set(key, value);
  const [oldest] = map.keys();
  if (map.size > max && oldest !== undefined) map.delete(oldest);
}
