/** Images that boot with a unified kernel image. */
import type { Tree } from "../../src/model/tree.ts";
import { bootImageOf } from "../../userspace/deployment/stage.ts";
import { openImage } from "../../userspace/oci/image.ts";
import { cpio, initramfsFiles } from "../formats/cpio-archive.ts";
import { type BuiltSection, pe } from "../formats/pe-builder.ts";
import type { OsImage, TestMachine } from "./machine.ts";

/** The bytes of a unified kernel image with this command line. */
export function uki(
  { version, kernel = "6.12" }: OsImage,
  cmdline: string,
  more: readonly BuiltSection[] = [],
): Buffer {
  const initramfs = cpio([...initramfsFiles("6.12"), { name: "kernel", data: kernel }]);
  return pe({
    sections: [
      {
        name: ".osrel",
        data: `ID=debian\nPRETTY_NAME="Sealed ${version}"\nVERSION_ID=${version}\n`,
      },
      { name: ".cmdline", data: `${cmdline}\n\0` },
      { name: ".uname", data: "6.12" },
      { name: ".linux", data: `kernel ${kernel}` },
      { name: ".initrd", data: initramfs.toString() },
      ...more,
    ],
  });
}

/** What boots of an image. */
export async function bootTree(machine: TestMachine, os: OsImage): Promise<Tree> {
  const manifest = await machine.pull(os);
  return machine.with(
    (_host, repository) => bootImageOf(repository, openImage(repository, `@${manifest}`)).tree,
  );
}

/**
 * The image with a unified kernel image that boots it; `cmdline` for its id is the command line, `more` are further sections.
 */
export async function withUki(
  machine: TestMachine,
  os: OsImage,
  cmdline: (id: string) => string = (id) => `rw quiet composefs=?${id}`,
  more: readonly BuiltSection[] = [],
): Promise<OsImage> {
  const manifest = await machine.pull(os);
  const id = machine.with(
    (_host, repository) => bootImageOf(repository, openImage(repository, `@${manifest}`)).id,
  );
  const data = uki(os, cmdline(id), more);
  return {
    ...os,
    boot: [
      ...["boot/", "boot/EFI/", "boot/EFI/Linux/"].map((path) => ({ path })),
      { path: "boot/EFI/Linux/debian.efi", data },
    ],
  };
}
