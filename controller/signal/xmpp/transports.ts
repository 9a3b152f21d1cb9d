/**
 * What a stream runs over: TCP before STARTTLS, or TLS from the first byte (XEP-0368). Owns where it
 * connects to and what the server must prove.
 */
import type { ConnectionOptions } from 'node:tls';
import TcpTransport from '@xmpp/tcp/lib/Connection.js';
import TlsTransport from '@xmpp/tls/lib/Connection.js';
import { tlsOptions } from '../tls-options.ts';
import type { StreamOptions } from './contract.ts';

/** The library asks transports for the parameters of their sockets by their prototype. */
export function tcpTransport({ host, port }: StreamOptions): unknown {
  return class extends TcpTransport {
    override socketParameters(): object {
      return { host, port };
    }
  };
}

export function directTransport(options: StreamOptions): unknown {
  const { host, port } = options;
  const parameters = { ...tlsOptionsOf(options), host, port, ALPNProtocols: ['xmpp-client'] };
  return class extends TlsTransport {
    override socketParameters(): object {
      return parameters; // ALPN by XEP-0368
    }
  };
}

export const tlsOptionsOf = ({
  account,
  caPem,
  clientCertificate,
}: StreamOptions): ConnectionOptions =>
  tlsOptions({ domain: account.domain, caPem, clientCertificate });
