/**
 * `evio config check`: the findings as lines that editors understand, or as JSON. Owns nothing but
 * the wording of the last line.
 */
import { formatFinding } from '../../config/check.ts';
import { checkConfig } from '../../config/load.ts';
import { printable } from './core/table.ts';
import { printJson, printLines } from './output.ts';

/** Exit code 2 when there is an error; warnings alone are fine. */
export function checkCommand(file: string, options: { readonly json?: boolean }): void {
  const findings = checkConfig(file);
  const errors = findings.filter(({ severity }) => severity === 'error').length;
  if (errors > 0) process.exitCode = 2;
  if (options.json === true) {
    printJson({ file, ok: errors === 0, findings });
    return;
  }
  const warnings = findings.length - errors;
  printLines([
    ...findings.map((finding) => printable(formatFinding(file, finding))),
    findings.length === 0
      ? `${file}: ok`
      : `${file}: ${count(errors, 'error')}, ${count(warnings, 'warning')}`,
  ]);
}

const count = (n: number, word: string): string => `${n} ${word}${n === 1 ? '' : 's'}`;
