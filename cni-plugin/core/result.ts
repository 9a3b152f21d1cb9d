/**
 * Results as each version of the specification writes them, joined to those of plugins before us.
 * Owns the shapes; decides nothing about addresses.
 */

/** An interface that an attachment consists of; `sandbox` empty for those of the host. */
export interface ResultInterface {
  readonly name: string;
  readonly mac: string;
  readonly mtu: number;
  readonly sandbox: string;
}

export interface ResultIp {
  /** `10.42.1.5/24` */
  readonly address: string;
  readonly gateway: string;
}

export interface Attached {
  /** The last one is the container's. */
  readonly interfaces: readonly ResultInterface[];
  readonly ips: readonly ResultIp[];
  readonly routes: readonly { readonly dst: string; readonly gw: string }[];
  readonly dns: object;
}

/** The part of an earlier plugin's result that ours is added to. */
export interface Previous {
  readonly interfaces?: readonly object[] | undefined;
  readonly ips?: readonly object[] | undefined;
  readonly routes?: readonly object[] | undefined;
  readonly dns?: object | undefined;
}

/** The result object of ADD for a version. */
export function formatResult(
  version: string,
  attached: Attached,
  previous: Previous | null,
): object {
  const before = previous?.interfaces ?? [];
  const index = before.length + attached.interfaces.length - 1;
  const hasMtu = version === '1.1.0';
  const needsFamily = version === '0.3.1' || version === '0.4.0';
  const interfaces = attached.interfaces.map(({ name, mac, mtu, sandbox }) => ({
    name,
    mac,
    ...(hasMtu ? { mtu } : {}),
    ...(sandbox === '' ? {} : { sandbox }),
  }));
  const ips = attached.ips.map(({ address, gateway }) => ({
    ...(needsFamily ? { version: address.includes(':') ? '6' : '4' } : {}),
    address,
    gateway,
    interface: index,
  }));
  return {
    cniVersion: version,
    interfaces: [...before, ...interfaces],
    ips: [...(previous?.ips ?? []), ...ips],
    routes: [...(previous?.routes ?? []), ...attached.routes],
    dns: { ...previous?.dns, ...attached.dns },
  };
}
