/**
 * Writes the generated reference pages and the JSON Schema of the configuration; with `--check`
 * only says which of them are not current and exits 1. Owns the writing.
 *
 * Usage: node dist/tests/docs.js [--check]
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { generatedFiles, repositoryRoot } from './reference/pages.ts';

const { values } = parseArgs({ options: { check: { type: 'boolean', default: false } } });
for (const [path, text] of generatedFiles()) {
  const file = join(repositoryRoot, path);
  if (existsSync(file) && readFileSync(file, 'utf8') === text) continue;
  if (values.check) {
    process.stdout.write(`not current: ${path}: run \`npm run docs\`\n`);
    process.exitCode = 1;
  } else {
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text);
    process.stdout.write(`written: ${path}\n`);
  }
}
