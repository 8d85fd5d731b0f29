/** Where images go: what a registry and an image layout have in common. */
import type { Fd, Linux } from "../../src/linux/linux.ts";
import type { TemporaryFile } from "../repository/temporary-file.ts";
import type { BlobDescriptor } from "./transport.ts";

/** A blob that is to be written. */
export interface OutgoingBlob extends BlobDescriptor {
  /** The bytes from an offset on; may be asked for several times. */
  read(offset: number): AsyncIterable<Uint8Array>;
  /** A file in the destination's `scratch` that has them already. The destination may give it its name. */
  readonly file?: TemporaryFile;
}

export interface Destination {
  /** A directory for large temporary files. */
  readonly scratch: Fd;
  /** Whether the destination has a blob, or can take it from where it knows it to be. */
  obtain(descriptor: BlobDescriptor, signal?: AbortSignal): Promise<boolean>;
  /** Writes a blob. */
  putBlob(blob: OutgoingBlob, signal?: AbortSignal): Promise<void>;
  /** Writes a manifest, whose blobs are all there, and gives it the name that the reference says. */
  putManifest(manifest: OutgoingManifest): Promise<void>;
  close(): Promise<void>;
}

export interface OutgoingManifest extends BlobDescriptor {
  readonly bytes: Uint8Array;
  /** What kind of artifact it is, if it is one. */
  readonly artifactType: string | undefined;
  /** The manifest that it refers to. */
  readonly subject: string | undefined;
  readonly annotations: Readonly<Record<string, string>>;
}

const PIECE = 1 << 18;

/** A blob of bytes at hand. */
export function blobOfBytes(descriptor: BlobDescriptor, bytes: Uint8Array): OutgoingBlob {
  return {
    ...descriptor,
    async *read(offset) {
      yield bytes.subarray(offset);
    },
  };
}

/** A blob that is a temporary file's content. */
export function blobOfFile(
  linux: Linux,
  descriptor: BlobDescriptor,
  file: TemporaryFile,
): OutgoingBlob {
  return {
    ...descriptor,
    file,
    async *read(offset) {
      for (let at = offset; at < descriptor.size; ) {
        const buffer = new Uint8Array(PIECE);
        const count = linux.read(file.fd, buffer, at);
        if (count === 0) return;
        yield buffer.subarray(0, count);
        at += count;
      }
    },
  };
}
