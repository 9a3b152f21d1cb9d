/**
 * When the controller's process is to end: asked by a signal, or by an error that nobody caught. Owns the
 * handlers of the process; ends nothing itself.
 */
import { messageOf } from '../base/errors.ts';

interface End {
  readonly reason: string;
  readonly status: number;
}

/** Resolves on the first signal or uncaught error; a second SIGINT ends the process at once. */
export function whenAskedToEnd(): Promise<End> {
  return new Promise((resolve) => {
    let asked = false;
    const onSignal = (signal: NodeJS.Signals): void => {
      if (asked && signal === 'SIGINT') process.exit(130);
      asked = true;
      resolve({ reason: signal, status: 0 });
    };
    process.on('SIGTERM', onSignal);
    process.on('SIGINT', onSignal);
    process.on('SIGHUP', () => {}); // a closed terminal does not end a node
    const onError = (error: unknown): void => {
      const detail = error instanceof Error ? (error.stack ?? error.message) : messageOf(error);
      process.stderr.write(`evio: uncaught: ${detail}\n`);
      resolve({ reason: `uncaught error: ${messageOf(error)}`, status: 1 });
    };
    process.on('uncaughtException', onError);
    process.on('unhandledRejection', onError);
  });
}
