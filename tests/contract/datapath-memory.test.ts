/** The in-memory twin passes the data path's contract. */
import type { Upcall } from '../../tincan-bridge/datapath/datapath.ts';
import { createMemoryDatapath } from '../../tincan-bridge/datapath/memory.ts';
import { MemoryNetwork } from '../../tincan-bridge/datapath/memory-network.ts';
import { datapathSuite } from './datapath.suite.ts';

const network = new MemoryNetwork();

datapathSuite('memory datapath', null, async (t, id) => {
  const upcalls: Upcall[] = [];
  const frames: Uint8Array[] = [];
  const datapath = createMemoryDatapath({
    network,
    nodeId: id,
    onUpcalls: (some) => void upcalls.push(...some),
    onFrame: (frame) => void frames.push(frame.bytes),
  });
  t.defer(() => datapath.close());
  const address = datapath.addresses[0] ?? '';
  const inject = (bytes: Uint8Array): void => datapath.inject({ bytes, offload: null });
  return { id, datapath, upcalls, frames, inject, address };
});
