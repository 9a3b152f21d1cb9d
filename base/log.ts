/**
 * Logging by pino: constant message plus fields, four levels. Owns the logger interface that is
 * injected everywhere; never logs per packet, never prints a Secret.
 */
import { type DestinationStream, pino } from 'pino';
import { LineLimit } from './line-limit.ts';

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

/**
 * The names of all fields of log lines. One list, so that a log can be searched; the compiler
 * refuses others.
 */
export interface LogFields {
  readonly overlay?: string;
  readonly peer?: string;
  readonly name?: string;
  readonly account?: string;
  readonly module?: string;
  readonly event?: string;
  readonly state?: string;
  readonly reason?: string;
  readonly code?: string;
  readonly error?: string;
  readonly path?: string;
  readonly file?: string;
  readonly device?: string;
  readonly address?: string;
  readonly server?: string;
  readonly command?: string;
  readonly method?: string;
  readonly pid?: number;
  readonly count?: number;
  readonly durationMs?: number;
  readonly delayMs?: number;
  readonly mtu?: number;
  readonly version?: string;
  readonly nodeId?: string;
}

export interface Logger {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** A logger whose every line carries the module and the fields. */
  child(module: string, fields?: LogFields): Logger;
}

/**
 * A logger that writes JSON lines to `destination` (default: standard error): of each message only
 * so many a minute, with a count of those that were left out. `now` is a monotonic clock.
 */
export function createLogger(
  level: LogLevel,
  destination?: DestinationStream,
  now: () => number = () => performance.now(),
): Logger {
  const options = {
    level,
    base: null,
    timestamp: (): string => `,"time":"${new Date().toISOString()}"`,
    formatters: { level: (label: string): object => ({ level: label }) },
  };
  const target = pino(options, destination ?? pino.destination({ dest: 2, sync: true }));
  const limit = new LineLimit();
  return wrap((lineLevel, message, fields) => {
    if (!target.isLevelEnabled(lineLevel)) return;
    const count = limit.take(`${lineLevel} ${message}`, now());
    if (count === null) return;
    if (count > 0) target.warn({ count, event: message }, 'lines like the next were left out');
    target[lineLevel](fields, message);
  });
}

/** A logger that says nothing, for tests and pure tools. */
export const silentLogger: Logger = {
  debug() {},
  info() {},
  warn() {},
  error() {},
  child: () => silentLogger,
};

type Write = (level: LogLevel, message: string, fields: LogFields) => void;

/** The bound fields are joined here, not by pino's children, so that a name stands once in a line. */
function wrap(write: Write, bound: LogFields = {}): Logger {
  return {
    debug: (message, fields) => write('debug', message, { ...bound, ...fields }),
    info: (message, fields) => write('info', message, { ...bound, ...fields }),
    warn: (message, fields) => write('warn', message, { ...bound, ...fields }),
    error: (message, fields) => write('error', message, { ...bound, ...fields }),
    child: (module, fields) => wrap(write, { ...bound, module, ...fields }),
  };
}
