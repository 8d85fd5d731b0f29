/** Asks of an image in the repository whether it will come up. */
import { fromBytes } from "../../src/formats/bytestring.ts";
import type { Tree } from "../../src/formats/tree.ts";
import { HintedError } from "../../src/linux/hint.ts";
import { type BootFacts, checkBoot, type Finding } from "../../src/model/boot-checks.ts";
import { findFile } from "../../src/model/boot-resources.ts";
import type { InitramfsContent } from "../../src/model/initramfs-content.ts";
import { readInitramfs } from "../initramfs.ts";
import type { Repository } from "../repository/repository.ts";
import { readContent } from "./image-content.ts";
import type { BootableKernel } from "./image-facts.ts";

const MAX_INITRAMFS = 2 ** 29;
const MAX_TEXT = 1 << 24;

/** What speaks against booting a tree so, as `checkBoot` finds it. */
export function checkBootable(
  repository: Repository,
  tree: Tree,
  { release, initramfs }: Pick<BootableKernel, "release" | "initramfs">,
  how: Pick<BootFacts, "verity" | "cmdline" | "rootFileSystem">,
): Finding[] {
  const text = (name: string) => {
    const content = findFile(tree, ["usr", "lib", "modules", release, name]);
    if (content === undefined) return undefined;
    try {
      return fromBytes(readContent(repository, content, MAX_TEXT));
    } catch (error) {
      throw new Error(`/usr/lib/modules/${release}/${name}`, { cause: error });
    }
  };
  return checkBoot({
    kernel: { release, builtin: text("modules.builtin"), config: text("config") },
    initramfs: contentOf(initramfs),
    ...how,
  });
}

function contentOf({ size, chunks }: BootableKernel["initramfs"]): InitramfsContent | Error {
  if (size > MAX_INITRAMFS) return new Error(`${size} bytes, expected at most ${MAX_INITRAMFS}`);
  const data = new Uint8Array(size);
  let have = 0;
  // what is not what its digest stands for is an error of the repository, not of the initramfs
  for (const chunk of chunks()) {
    if (have + chunk.length > size) throw new Error(`the initramfs has more than ${size} bytes`);
    data.set(chunk, have);
    have += chunk.length;
  }
  try {
    return readInitramfs(data.subarray(0, have));
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}

/** Throws if a check failed, with all that did. `canForce`: whoever asked has a `--force`. */
export function requireBootable(findings: readonly Finding[], canForce: boolean): void {
  const failed = findings.filter(({ level }) => level === "failed");
  if (failed.length === 0) return;
  const hints = failed.flatMap(({ hint }) => hint ?? []);
  const force = canForce ? ["--force stages it all the same"] : [];
  throw new HintedError(
    `the image would not come up: ${failed.map(({ message }) => message).join("; ")}`,
    [...new Set([...hints, ...force])].join("; "),
  );
}
