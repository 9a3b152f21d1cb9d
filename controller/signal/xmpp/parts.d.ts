/**
 * Types of the parts of xmpp.js 0.14 that this folder uses; the packages have none of their own. Only
 * what is used is declared.
 */
declare module '@xmpp/client-core' {
  import type { EventEmitter } from 'node:events';

  /** An element of ltx. */
  export interface XmlElement {
    readonly attrs: Readonly<Record<string, unknown>>;
    readonly children: readonly (XmlElement | string)[];
    getName(): string;
    getNS(): string | undefined;
    toString(): string;
  }

  /** Anything that the stream can run over. */
  export interface StreamSocket {
    readonly secure?: boolean;
  }

  export class Client extends EventEmitter {
    constructor(options: {
      readonly service: string;
      readonly domain: string;
      /** Deadline of the stream header's answer. */
      readonly timeout: number;
    });
    readonly transports: unknown[];
    readonly socket: unknown;
    readonly parser: { write(text: string): void } | null;
    isSecure(): boolean;
    disconnect(): Promise<unknown>;
    connect(service: string): Promise<unknown>;
    open(options: { readonly domain: string }): Promise<unknown>;
    restart(): Promise<unknown>;
    write(text: string): Promise<void>;
    send(element: XmlElement): Promise<void>;
    _onData(data: Uint8Array): void;
    _onElement(element: XmlElement): void;
    _attachSocket(socket: StreamSocket): void;
    _detachSocket(): void;
    _detachParser(): void;
  }

  export function xml(
    name: string,
    attributes: Readonly<Record<string, string>>,
    ...children: readonly (XmlElement | string)[]
  ): XmlElement;
}

declare module '@xmpp/tcp/lib/Connection.js' {
  class ConnectionTcp {
    socketParameters(service: string): object | undefined;
  }

  // biome-ignore lint/style/noDefaultExport: the package has one
  export { ConnectionTcp as default };
}

declare module '@xmpp/tls/lib/Connection.js' {
  class ConnectionTls {
    socketParameters(service: string): object | undefined;
  }

  // biome-ignore lint/style/noDefaultExport: the package has one
  export { ConnectionTls as default };
}

declare module '@xmpp/tls/lib/Socket.js' {
  import type { EventEmitter } from 'node:events';
  import type { ConnectionOptions, TLSSocket } from 'node:tls';

  class Socket extends EventEmitter {
    readonly secure: boolean;
    readonly socket: TLSSocket | null;
    connect(options: ConnectionOptions): void;
  }

  // biome-ignore lint/style/noDefaultExport: the package has one
  export { Socket as default };
}
