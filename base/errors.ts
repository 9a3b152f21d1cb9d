/**
 * Every error that can reach an operator: code, meaning, remedy. Owns the table from which the
 * reference page and the protocol's error codes are made; never formats for one program alone.
 */

/** Code → what it means and what to do. Codes are a promise: never renamed, never reused. */
export const errorTable = {
  'config.unreadable': {
    meaning: 'the configuration file cannot be read',
    remedy: 'check the path and the permissions of the file named',
  },
  'config.invalid': {
    meaning: 'the configuration has errors, each listed with path and line',
    remedy: 'correct what is listed; `evio config check FILE` shows the same list',
  },
  'secret.unreadable': {
    meaning: 'a secret named in the configuration cannot be read',
    remedy: 'make the file, variable or credential that is named readable for the service',
  },
  'identity.unusable': {
    meaning: 'the identity key or certificate of this node cannot be used',
    remedy: 'restore the file named, or remove it to be given a new identity (a new node id)',
  },
  'identity.mismatch': {
    meaning: 'the configured node id does not belong to the identity key',
    remedy: 'remove NodeId from the configuration, or restore the key that it belongs to',
  },
  'identity.pins-unusable': {
    meaning: 'the list of pinned peer keys cannot be used',
    remedy: 'restore the file named, or remove it: then the next key seen of each peer is pinned',
  },
  'trust.unusable': {
    meaning: 'the CA certificate, node certificate or revocation list of an overlay cannot be used',
    remedy: 'bring the file named anew from the folder of the CA (`evio ca sign`, `evio ca crl`)',
  },
  'trust.stale': {
    meaning: 'the certificate of this node or the revocation list is no longer, or soon not, valid',
    remedy: 'sign the node again with `evio ca sign`, or bring a new list made by `evio ca crl`',
  },
  'ca.unusable': {
    meaning: 'the folder of a CA, or its key, cannot be used',
    remedy: 'see the file named; `evio ca init` makes a new CA in a folder that holds none',
  },
  'ca.refused': {
    meaning: 'the CA does not sign or revoke what was asked for',
    remedy: 'see the reason; `evio ca list` shows what is signed',
  },
  'ca.busy': {
    meaning: 'another command works in the folder of the CA',
    remedy: 'wait for it; after a crash remove the lock file that is named',
  },
  'runtime.unsupported': {
    meaning: 'the running Node.js is too old or the native addon is missing',
    remedy: 'run `npm ci && npm run build` in the installation folder',
  },
  'host.not-permitted': {
    meaning: 'the process lacks a capability that it needs',
    remedy: 'run as root, or grant the capability that is named (for example CAP_NET_ADMIN)',
  },
  'host.no-tun': {
    meaning: '/dev/net/tun is missing',
    remedy: 'load the tun module (modprobe tun), or pass the device into the container',
  },
  'host.device-foreign': {
    meaning: 'a network device of the wanted name exists and is not ours',
    remedy: 'rename or remove the device, or choose another name in the configuration',
  },
  'host.no-ovs': {
    meaning: 'the Open vSwitch of this host is missing or does not answer',
    remedy: 'install and start openvswitch-switch, or choose another BridgeProvider',
  },
  'host.command-failed': {
    meaning: 'a command of the host failed',
    remedy: 'see the command and its message',
  },
  'host.address-in-use': {
    meaning: 'the wanted address is in use on another device of this host',
    remedy: 'choose another address in the configuration',
  },
  'already-running': {
    meaning: 'another controller serves the same run directory',
    remedy: 'stop the other one, or give this one its own RunDirectory',
  },
  'not-running': {
    meaning: 'no controller answers on the local API socket',
    remedy: 'start one with `evio up`, or name its socket with --socket',
  },
  'signal.unresolvable': {
    meaning: 'the name of the XMPP server does not resolve',
    remedy: 'check HostAddress and the DNS of this host; Evio keeps trying',
  },
  'signal.no-network': {
    meaning: 'this host has no route to the XMPP server',
    remedy: 'check the network of this host; Evio keeps trying',
  },
  'signal.unreachable': {
    meaning: 'the XMPP server cannot be reached',
    remedy: 'check HostAddress, Port and firewalls; Evio keeps trying',
  },
  'signal.no-tls': {
    meaning: 'the XMPP server offers no TLS',
    remedy: 'enable STARTTLS or direct TLS on the server; Evio never logs in without',
  },
  'signal.certificate': {
    meaning: 'the certificate of the XMPP server is not trusted',
    remedy: 'name its CA with CaFile, or correct the certificate (or the clock of this host)',
  },
  'signal.auth-failed': {
    meaning: 'the XMPP server refused the account or password',
    remedy: 'correct Username or the password; the next try is minutes away, or at restart',
  },
  'signal.server-unproven': {
    meaning: 'the server did not prove that it knows the password (SCRAM signature)',
    remedy: 'somebody may stand between: check the server and its certificate',
  },
  'signal.no-mechanism': {
    meaning: 'the server offers no login mechanism that Evio accepts',
    remedy: 'enable SCRAM-SHA-256 or SCRAM-SHA-1 (or EXTERNAL) on the server',
  },
  'signal.disconnected': {
    meaning: 'the XMPP server ended the connection, or it broke',
    remedy: 'see the reason named; Evio connects again by itself',
  },
  'peer.untrusted': {
    meaning: 'a peer is not accepted by the trust policy',
    remedy: 'see the reason; a key that was changed on purpose needs `evio trust accept`',
  },
  'peer.unknown': {
    meaning: 'no peer has that name or id, or several have it',
    remedy: '`evio peers` lists names and ids; the first characters of an id are enough',
  },
  'bridge.failed': {
    meaning: 'the tunnel process ended or does not answer',
    remedy: 'it is started again; see its last messages in the log',
  },
  'bridge.version': {
    meaning: 'the tunnel process speaks another protocol version',
    remedy: 'install controller and tincan-bridge of the same release and restart',
  },
  'bridge.unknown-peer': {
    meaning: 'no session with that peer is wanted',
    remedy: 'nothing to do: the peer left meanwhile',
  },
  'cni.foreign-file': {
    meaning: 'a CNI file of the name that is wanted exists and is not ours',
    remedy: 'move the file named away, or choose other folders with --bin-dir and --conf-dir',
  },
  'cni.not-ready': {
    meaning: 'no pod can be attached to the overlay yet',
    remedy: 'see the reason; `evio cni status` and `evio status` show the rest',
  },
  'request.invalid': {
    meaning: 'a request or frame breaks its schema',
    remedy: 'see the path that is named; programs of the same release agree',
  },
  'request.timeout': {
    meaning: 'an answer did not come in time',
    remedy: 'see whether the process named is alive',
  },
  'request.aborted': { meaning: 'the request ended because its side shuts down', remedy: 'none' },
  internal: {
    meaning: 'a defect of Evio',
    remedy: 'report it with the log lines around it',
  },
} as const;

export type ErrorCode = keyof typeof errorTable;

/** Whether something from outside is a code of the table. */
export const isErrorCode = (code: unknown): code is ErrorCode =>
  typeof code === 'string' && Object.hasOwn(errorTable, code);

/** An error with a code of the table; the message names the thing and the value, lower case. */
export class EvioError extends Error {
  readonly code: ErrorCode;
  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'EvioError';
    this.code = code;
  }
}

/** Any thrown value as an EvioError: unknown ones become `internal`, with their cause kept. */
export function toEvioError(error: unknown): EvioError {
  if (error instanceof EvioError) return error;
  return new EvioError('internal', messageOf(error), { cause: error });
}

/** The message of anything that was thrown. */
export const messageOf = (error: unknown): string =>
  error instanceof Error ? error.message : String(error);

/** For the end of a switch over a union: does not compile while a case is missing. */
export function unreachable(value: never): never {
  throw new EvioError('internal', `unreachable: ${JSON.stringify(value)}`);
}
