/**
 * The tunnel process's logger: lines cross the channel as `log` notifications and the controller
 * writes them. Owns the level; standard error is for crashes.
 */
import { LineLimit } from '../base/line-limit.ts';
import type { LogFields, Logger, LogLevel } from '../base/log.ts';
import type { BridgeServer } from './server.ts';

const ranks: Readonly<Record<LogLevel, number>> = { debug: 0, info: 1, warn: 2, error: 3 };
const maxMessageChars = 300;
const maxFieldChars = 600;

export function createChannelLogger(
  notify: BridgeServer['notify'],
  least: LogLevel,
  bound: LogFields = {},
  limit: LineLimit = new LineLimit(),
): Logger {
  const write = (level: LogLevel, message: string, fields: LogFields = {}): void => {
    if (ranks[level] < ranks[least]) return;
    const dropped = limit.take(`${level} ${message}`, performance.now());
    if (dropped === null) return;
    const more = dropped === 0 ? {} : { count: dropped }; // like it, left out before
    notify('log', {
      level,
      message: message.slice(0, maxMessageChars),
      fields: plain({ ...bound, ...fields, ...more }),
    });
  };
  return {
    debug: (message, fields) => write('debug', message, fields),
    info: (message, fields) => write('info', message, fields),
    warn: (message, fields) => write('warn', message, fields),
    error: (message, fields) => write('error', message, fields),
    child: (module, fields) =>
      createChannelLogger(notify, least, { ...bound, ...fields, module }, limit),
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
