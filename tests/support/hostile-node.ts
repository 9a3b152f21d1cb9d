/**
 * A copy of the built program whose datapath misbehaves on order (`hostile-datapath.ts`), to be started
 * as a node like any other. Owns the copy, in the lab's folder, and the file with the order.
 */
import { cpSync, mkdirSync, readFileSync, renameSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Lab } from './netns.ts';
import type { NodeOptions } from './node.ts';
import { repositoryRoot } from './repository.ts';
import { waitFor } from './scope.ts';

export interface HostileBuild {
  /** For the node that is to run it. */
  readonly options: Pick<NodeOptions, 'node' | 'program'>;
  /** What it does from now on; node ids are those that it claims as neighbours. Waits until it is heeded. */
  order(...words: readonly string[]): Promise<void>;
}

export function hostileBuild(lab: Lab): HostileBuild {
  const root = join(lab.folder, 'hostile');
  const orderFile = join(root, 'order');
  mkdirSync(join(root, 'tincan-bridge', 'native'), { recursive: true });
  cpSync(join(repositoryRoot, 'dist'), join(root, 'dist'), { recursive: true });
  cpSync(join(repositoryRoot, 'package.json'), join(root, 'package.json'));
  for (const path of ['node_modules', 'tincan-bridge/native/build', 'controller']) {
    symlinkSync(join(repositoryRoot, path), join(root, path));
  }
  const datapath = join(root, 'dist', 'tincan-bridge', 'datapath');
  renameSync(join(datapath, 'native.js'), join(datapath, 'native-honest.js'));
  writeFileSync(join(datapath, 'native.js'), wrapper(orderFile));
  return {
    options: { node: process.execPath, program: join(root, 'dist/controller/cli/main.js') },
    order: async (...words) => {
      writeFileSync(orderFile, words.join(' '));
      const heeded = (): boolean =>
        readFileSync(`${orderFile}.heeded`, 'utf8') === [...new Set(words)].join(' ');
      await waitFor(`the order ${words.join(' ')} is heeded`, heeded, { timeoutMs: 10_000 });
    },
  };
}

/** The module that stands in the datapath's place. */
function wrapper(orderFile: string): string {
  const [honest, wrong] = ['./native-honest.js', '../../tests/support/hostile-datapath.js'].map(
    (path) => JSON.stringify(path),
  );
  return `import * as honest from ${honest};
import { hostile } from ${wrong};
export * from ${honest};
export const createNativeDatapath = (options) =>
  hostile(honest.createNativeDatapath(options), options, ${JSON.stringify(orderFile)});
`;
}
