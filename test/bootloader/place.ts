/** A boot partition in a temporary directory. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { AT_FDCWD, O_CLOEXEC, O_DIRECTORY, O_RDONLY } from "../../src/linux/constants.ts";
import { type BootPlace, espPlace } from "../../userspace/bootloader/boot-place.ts";
import type { KernelSource } from "../../userspace/bootloader/kernels.ts";
import { linux } from "../../userspace/linux.ts";

export interface TemporaryPlace extends Disposable {
  readonly place: BootPlace;
  readonly path: string;
  /** Writes a file with its directories. */
  write(path: string, content: string): void;
}

export function temporaryEsp(): TemporaryPlace {
  const path = mkdtempSync(join(tmpdir(), "cfsboot-esp-"));
  const directory = linux.openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  return {
    place: espPlace(directory, path),
    path,
    write(file, content) {
      mkdirSync(dirname(join(path, file)), { recursive: true });
      writeFileSync(join(path, file), content);
    },
    [Symbol.dispose]() {
      linux.close(directory);
      rmSync(path, { recursive: true });
    },
  };
}

/** A kernel of these texts. */
export function kernelOf(vmlinuz: string, initrd: string): KernelSource {
  const content = (text: string) => () => [Buffer.from(text)];
  return { kind: "linux", vmlinuz: content(vmlinuz), initrd: content(initrd) };
}
