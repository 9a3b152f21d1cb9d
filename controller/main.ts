/**
 * Stub: stands only until the controller's own file comes. Owns nothing.
 */
import { EvioError } from '../base/errors.ts';

export function runController(options: { readonly configFile: string }): Promise<number> {
  throw new EvioError('internal', `no controller is built in to run ${options.configFile}`);
}
