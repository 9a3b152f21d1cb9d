/**
 * The bytes that two tunnel processes exchange: the type byte inside a record, the envelope of the
 * ring path, how the 48-bit record numbers are shared out, and the types of the frames within. Owns
 * the constants for TypeScript; `native/wire.h` holds those of the protocol for C++, and a contract
 * test compares them.
 */

/** Low nibble of the first byte of every opened record. */
export const frameTypes = { ethernet: 0, flood: 1, envelope: 2, control: 3 } as const;
export type FrameType = keyof typeof frameTypes;

/** Bit 7 of the type byte: the TCP or UDP checksum of this frame is not computed yet. */
export const checksumUndone = 0x80;

/** Offload facts of a received frame with that bit: NEEDS_CSUM, the place to be found again. */
export const undoneOffload: Uint8Array = Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0, 0, 0);

/** Envelope after the type byte: source id (16) · destination id (16) · ttl (1) · datagram. */
export const envelopeBytes = 33;

/**
 * Lanes: the top 4 bits of the 48-bit record number say who sealed it, so that no two writers ever
 * share a counter and no lock is taken. Lane 0 is OpenSSL's own (Finished and its retransmits).
 * The receiver keeps one replay window for each lane.
 */
export const lanes = { openssl: 0, outbound: 1, inbound: 2, script: 3 } as const;

/** Records of one lane before the association must have been replaced: 2^44 − 1. */
export const laneCapacity = 2 ** 44 - 1;

/** Width of a replay window, records. */
export const replayWindow = 4096;

/** Content type of a record that a session can open (RFC 6347 section 4.1). */
export const applicationData = 23;

/** DTLS 1.2 record header: type, version, epoch, number, length (RFC 6347 section 4.1). */
export const recordHeaderBytes = 13;

/** Bytes around the plaintext of a record: header, explicit nonce, tag. */
export const recordOverhead = {
  'aes-128-gcm': 13 + 8 + 16,
  'aes-256-gcm': 13 + 8 + 16,
  'chacha20-poly1305': 13 + 16,
} as const;

/** AEADs that a session may use (RFC 5288, RFC 7905). */
export type Suite = keyof typeof recordOverhead;

/** ChannelData header of TURN (RFC 8656 section 12.4): channel number, length. */
export const channelDataHeaderBytes = 4;

/** EtherTypes (IEEE 802, as IANA lists them); the experimental one is its first. */
export const etherTypes = {
  ipv4: 0x0800,
  arp: 0x0806,
  vlan: 0x8100,
  ipv6: 0x86dd,
  experimental: 0x88b5,
} as const;
