/** Unified kernel images, of systemd's stub and objcopy(1): as they were made before there was ukify. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { sourceOf } from "../../src/formats/byte-source.ts";
import { readPe } from "../../src/formats/pe.ts";

/** Bytes of one, of these sections in their order. `scratch` is a directory for files that go. */
export function makeUki(
  scratch: string,
  stub: Uint8Array,
  sections: readonly (readonly [name: string, content: string | Uint8Array])[],
): Buffer {
  const work = mkdtempSync(join(scratch, "uki-"));
  try {
    const { imageBase, sectionAlignment, sections: own } = readPe(sourceOf(stub));
    const align = (value: number) => Math.ceil(value / sectionAlignment) * sectionAlignment;
    const path = (name: string) => join(work, name);
    let end = Math.max(...own.map((one) => one.virtualAddress + one.virtualSize));
    const options = sections.flatMap(([name, content], i) => {
      const address = align(end);
      writeFileSync(path(`${i}`), content);
      end = address + Buffer.byteLength(content);
      return [
        ...["--add-section", `${name}=${path(`${i}`)}`],
        ...["--change-section-vma", `${name}=0x${(imageBase + address).toString(16)}`],
      ];
    });
    writeFileSync(path("stub"), stub);
    execFileSync("objcopy", [...options, path("stub"), path("uki")]);
    return readFileSync(path("uki"));
  } finally {
    rmSync(work, { recursive: true });
  }
}
