/**
 * Reads the configuration file and what it names, and makes the Config of it. Owns which findings
 * stop a start; only ever reads, never writes, connects or runs anything.
 */
import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { EvioError, messageOf } from '../base/errors.ts';
import { checkText, type Finding, formatFinding } from './check.ts';
import type { Config } from './config.ts';
import { resolveConfig } from './resolve.ts';
import type { ConfigFile } from './schema.ts';
import { type Environment, isWorldReadable, Sources } from './sources.ts';

export interface Loaded {
  readonly config: Config;
  readonly warnings: readonly Finding[];
}

/** Larger files are refused. */
const maxConfigBytes = 262_144;

/**
 * The configuration, ready to run with. Throws `config.unreadable`, `config.invalid` with all
 * errors in the message, or `secret.unreadable` when only passwords and keys are missing.
 */
export function loadConfig(file: string, environment: Environment = process.env): Loaded {
  const { findings, config } = read(file, environment, 'run');
  const errors = findings.filter(({ severity }) => severity === 'error');
  if (errors.length === 0 && config !== null) return { config, warnings: findings };
  const secretsOnly = errors.every(({ path }) => /\.(Password\w+|KeyFile)$/.test(path));
  throw invalid(file, errors, config !== null && secretsOnly);
}

/**
 * All that is wrong with the file and the files it names. An environment variable or credential
 * that is missing here is only a warning: the service may have it. Throws `config.unreadable`.
 */
export function checkConfig(
  file: string,
  environment: Environment = process.env,
): readonly Finding[] {
  return read(file, environment, 'check').findings;
}

/** The run directory that a file names, to find the socket in. Throws as `loadConfig` does. */
export function readRunDirectory(file: string): string {
  const { findings, file: parsed } = checkText(readText(file));
  if (parsed === null) throw invalid(file, findings, false);
  return parsed.Broker.RunDirectory;
}

/** The state directory that a file names, though what it names may be missing yet. */
export function readStateDirectory(file: string): string {
  const { findings, file: parsed } = checkText(readText(file));
  if (parsed === null) throw invalid(file, findings, false);
  return parsed.Broker.StateDirectory;
}

function invalid(file: string, errors: readonly Finding[], secretsOnly: boolean): EvioError {
  const lines = errors.map((finding) => `\n  ${formatFinding(file, finding)}`).join('');
  const count = errors.length === 1 ? '1 error' : `${errors.length} errors`;
  const code = secretsOnly ? 'secret.unreadable' : 'config.invalid';
  return new EvioError(code, `${count} in ${file}${lines}`);
}

function read(
  file: string,
  environment: Environment,
  purpose: 'run' | 'check',
): { readonly findings: readonly Finding[]; readonly config: Config | null } {
  const { file: parsed, findings, json } = checkText(readText(file));
  if (parsed === null) return { findings, config: null };
  const path = resolve(file);
  const sources = new Sources({ folder: dirname(path), environment, json, purpose });
  const config = resolveConfig(parsed, path, sources);
  return { findings: unique([...publicPassword(parsed, path), ...sources.findings]), config };
}

function readText(file: string): string {
  try {
    const bytes = readFileSync(file);
    if (bytes.length > maxConfigBytes) throw new Error(`larger than ${maxConfigBytes} bytes`);
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes); // drops a byte order mark
  } catch (error) {
    throw new EvioError('config.unreadable', `${file}: ${messageOf(error)}`, { cause: error });
  }
}

/** A warning when the file itself holds a password and everybody can read it. */
function publicPassword(file: ConfigFile, path: string): Finding[] {
  const turns = Object.values(file.LinkManager.Overlays).flatMap((own) => own?.Turn ?? []);
  const holders = [...Object.values(file.Signal.Overlays), ...file.LinkManager.Turn, ...turns];
  if (!holders.some((holder) => holder?.Password !== undefined)) return [];
  if (!isWorldReadable(path)) return [];
  const message = 'the file holds a password and everybody can read it: chmod 600, or PasswordFile';
  return [{ severity: 'warning', path: '', line: 1, column: 1, found: null, message }];
}

/** General TURN servers are resolved once for each overlay, their problems are told once. */
function unique(findings: readonly Finding[]): readonly Finding[] {
  const byText = new Map(findings.map((finding) => [formatFinding('', finding), finding]));
  return [...byText.values()].sort((a, b) => a.line - b.line || a.column - b.column);
}
