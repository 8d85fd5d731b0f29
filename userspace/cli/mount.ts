/** `cfsboot mount` */
import type { Command } from "commander";
import { hashOfHexLength, toHex } from "../../src/formats/digest.ts";
import {
  AT_FDCWD,
  MOVE_MOUNT_F_EMPTY_PATH,
  MOVE_MOUNT_T_EMPTY_PATH,
  O_CLOEXEC,
  O_DIRECTORY,
  O_PATH,
} from "../../src/linux/constants.ts";
import type { Repository } from "../repository/repository.ts";
import { addExamples } from "./example.ts";
import { openRepositoryAt, repoOption } from "./repository.ts";

interface Flags {
  readonly repo?: string;
  readonly bootable: boolean;
}

export function register(program: Command): void {
  addExamples(
    program
      .command("mount")
      .description("mount the filesystem of an image, read-only; umount(8) ends it")
      .argument("<name>", "tag, @sha256:… of the manifest or config, or the filesystem's digest")
      .argument("<target>", "the directory to mount it on")
      .addOption(repoOption())
      .option("--bootable", "the filesystem that a machine boots", false)
      .action(mount),
    "cfsboot mount debian /mnt",
  );
}

async function mount(name: string, target: string, flags: Flags): Promise<void> {
  const { linux } = await import("../linux.ts");
  const { mountComposefs } = await import("../../src/linux/composefs-mount.ts");
  using repository = await openRepositoryAt(flags.repo);
  try {
    const hex = await filesystemOf(repository, name, flags.bootable);
    const directory = linux.openat(AT_FDCWD, target, O_PATH | O_DIRECTORY | O_CLOEXEC);
    const image = repository.openImage(hex);
    const { fd } = mountComposefs(linux, {
      image: image.fd,
      name: hex,
      dataDirs: [repository.objectsFd()],
      verity: image.verity ? "require" : "none",
      readOnly: true,
    });
    const here = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
    linux.move_mount(fd, "", directory, "", here);
    // The process ends here, and with it the descriptors.
  } catch (error) {
    throw new Error(`mount ${name}`, { cause: error });
  }
}

/** The digest, in hex, of an image's filesystem in the repository's default format. */
async function filesystemOf(
  repository: Repository,
  name: string,
  bootable: boolean,
): Promise<string> {
  if (hashOfHexLength(name.length) === repository.hash && /^[0-9a-f]*$/.test(name)) return name;
  const { HintedError } = await import("../../src/linux/hint.ts");
  const { openImage } = await import("../oci/image.ts");
  const { imageRef } = await import("../oci/streams.ts");
  const { images } = openImage(repository, name);
  const digest = images.get(imageRef(repository.formats[0]!, bootable, "allowlist-only"));
  if (digest === undefined) {
    throw new HintedError(
      `the repository has no ${bootable ? "bootable " : ""}filesystem for it`,
      `cfsboot image pull ${bootable ? "--bootable " : ""}REFERENCE ${name}`,
    );
  }
  return toHex(digest);
}
