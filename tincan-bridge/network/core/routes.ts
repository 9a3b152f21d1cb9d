/**
 * The default routes in the kernel's tables as text (`/proc/net/route`, `/proc/net/ipv6_route`), for
 * comparing one moment with another. Pure.
 */

/** RTF_UP, linux/route.h. */
const up = 0x1;
/** RTF_REJECT: the unreachable route that stands in for a missing one. */
const reject = 0x200;

const flagsOf = (hex: string | undefined): number => Number.parseInt(hex ?? '0', 16);
const isInUse = (flags: number): boolean => (flags & up) !== 0 && (flags & reject) === 0;

/** `device gateway metric` of each IPv4 default route. */
export function defaultRoutes4(table: string): readonly string[] {
  return table.split('\n').flatMap((line) => {
    const [device, destination, gateway, flags, , , metric, mask] = line.trim().split(/\s+/);
    const isDefault = destination === '00000000' && mask === '00000000';
    return isDefault && isInUse(flagsOf(flags)) ? [`${device} ${gateway} ${metric}`] : [];
  });
}

/** The same for IPv6. */
export function defaultRoutes6(table: string): readonly string[] {
  return table.split('\n').flatMap((line) => {
    const fields = line.trim().split(/\s+/);
    const [destination = '', length, , , gateway, metric, , , flags, device] = fields;
    const isDefault = /^0{32}$/.test(destination) && length === '00';
    return isDefault && isInUse(flagsOf(flags)) ? [`${device} ${gateway} ${metric}`] : [];
  });
}
