/** The bridge-controller module's door: what main may import of it. */
export {
  type BridgeController,
  type BridgeControllerDeps,
  createBridgeController,
  type DeviceConfig,
  type Provider,
} from './bridge-controller.ts';
