/**
 * Secrets of DTLS sessions for whoever debugs with a packet analyser (SSLKEYLOGFILE). Owns the file's mode
 * and form; without a file it writes nothing.
 */
import { appendFileSync } from 'node:fs';
import { messageOf } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';

export function appendKeyLog(file: string | null, line: string, log: Logger): void {
  if (file === null) return;
  try {
    appendFileSync(file, `${line}\n`, { mode: 0o600 });
  } catch (error) {
    log.warn('key log cannot be written', { file, error: messageOf(error) });
  }
}
