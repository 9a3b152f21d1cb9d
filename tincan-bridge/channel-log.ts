/**
 * The tunnel process's logger: lines cross the channel as `log` notifications and the controller
 * writes them. Owns the level; standard error is for crashes.
 */
import type { LogFields, Logger, LogLevel } from '../base/log.ts';
import type { BridgeServer } from './server.ts';

const ranks: Readonly<Record<LogLevel, number>> = { debug: 0, info: 1, warn: 2, error: 3 };
const maxMessageChars = 300;
const maxFieldChars = 600;

export function createChannelLogger(
  notify: BridgeServer['notify'],
  least: LogLevel,
  bound: LogFields = {},
): Logger {
  const write = (level: LogLevel, message: string, fields: LogFields = {}): void => {
    if (ranks[level] < ranks[least]) return;
    notify('log', {
      level,
      message: message.slice(0, maxMessageChars),
      fields: plain({ ...bound, ...fields }),
    });
  };
  return {
    debug: (message, fields) => write('debug', message, fields),
    info: (message, fields) => write('info', message, fields),
    warn: (message, fields) => write('warn', message, fields),
    error: (message, fields) => write('error', message, fields),
    child: (module, fields) => createChannelLogger(notify, least, { ...bound, ...fields, module }),
  };
}

function plain(fields: LogFields): Record<string, string | number> {
  const record: Record<string, string | number> = {};
  for (const [name, value] of Object.entries(fields)) {
    if (typeof value === 'number') record[name] = value;
    else if (value !== undefined) record[name] = String(value).slice(0, maxFieldChars);
  }
  return record;
}
