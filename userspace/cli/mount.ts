/** `cfsboot mount` */
import type { Command } from "commander";
import { toHex } from "../../src/formats/digest.ts";
import { encodeTag, TAG_DIRECTORY } from "../../src/formats/oci-tag.ts";
import {
  AT_FDCWD,
  MOVE_MOUNT_F_EMPTY_PATH,
  MOVE_MOUNT_T_EMPTY_PATH,
  O_CLOEXEC,
  O_DIRECTORY,
  O_PATH,
} from "../../src/linux/constants.ts";
import { isErrno, type Linux } from "../../src/linux/linux.ts";
import { digestOfHex } from "../repository/layout.ts";
import type { ImageFile, Repository } from "../repository/repository.ts";
import { UsageError } from "./errors.ts";
import { addExamples } from "./example.ts";
import { openRepositoryAt, repoOption } from "./repository.ts";

interface Flags {
  readonly repo?: string;
  readonly bootable: boolean;
  readonly upperdir?: string;
  readonly workdir?: string;
  readonly readWrite: boolean;
}

export function register(program: Command): void {
  addMount(program, "cfsboot");
}

/** Adds `mount` to a command that is called `path`. */
export function addMount(parent: Command, path: string): void {
  addExamples(
    parent
      .command("mount")
      .description(
        "mount the filesystem of an image, read-only if nothing else is asked for; umount(8) ends it",
      )
      .argument(
        "<name>",
        "tag, @sha256:… of the manifest or config, the filesystem's digest, or refs/… as below images/",
      )
      .argument("<target>", "the directory to mount it on")
      .addOption(repoOption())
      .option("--bootable", "the filesystem that a machine boots", false)
      .option("--upperdir <directory>", "with the changes that are in this directory")
      .option("--workdir <directory>", "an empty directory on the file system of --upperdir")
      .option("--read-write", "changes can be made; they go to --upperdir", false)
      .action(mount),
    `${path} mount debian /mnt`,
    `${path} mount --read-write --upperdir changes --workdir work debian /mnt`,
  );
}

async function mount(name: string, target: string, flags: Flags): Promise<void> {
  const { upperdir, workdir, readWrite } = flags;
  if ((upperdir === undefined) !== (workdir === undefined)) {
    throw new UsageError("--upperdir and --workdir need each other");
  }
  if (readWrite && upperdir === undefined) {
    throw new UsageError("--read-write needs --upperdir and --workdir, where changes go");
  }
  const { linux } = await import("../linux.ts");
  using repository = await openRepositoryAt(flags.repo);
  try {
    const image = await openFilesystem(repository, name, flags.bootable);
    await mountImage(linux, repository, image, target, flags);
  } catch (error) {
    if (error instanceof UsageError) throw error;
    throw new Error(`mount ${name}`, { cause: error });
  }
}

/** The process ends after this, and with it the descriptors. */
async function mountImage(
  linux: Linux,
  repository: Repository,
  image: ImageFile,
  target: string,
  { upperdir, workdir, readWrite }: Flags,
): Promise<void> {
  const { mountComposefs } = await import("../../src/linux/composefs-mount.ts");
  const open = (path: string) => linux.openat(AT_FDCWD, path, O_PATH | O_DIRECTORY | O_CLOEXEC);
  const directory = open(target);
  const upper =
    upperdir === undefined || workdir === undefined
      ? undefined
      : { dir: open(upperdir), work: open(workdir) };
  try {
    const { fd } = mountComposefs(linux, {
      image: image.fd,
      name: toHex(image.digest),
      dataDirs: [repository.objectsFd()],
      verity: image.verity ? "require" : "none",
      readOnly: !readWrite,
      ...(upper && { upper }),
    });
    const here = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
    linux.move_mount(fd, "", directory, "", here);
  } catch (error) {
    if (!isDenied(error)) throw error;
    const { HintedError } = await import("../../src/linux/hint.ts");
    const why =
      linux.geteuid() === 0
        ? "the kernel mounts no images in containers and user namespaces"
        : "only root can mount images";
    throw new HintedError("not permitted", why, { cause: error });
  }
}

/** Whether the kernel wants more rights. */
function isDenied(error: unknown): boolean {
  for (let at = error; at instanceof Error; at = at.cause) if (isErrno(at, "EPERM")) return true;
  return false;
}

/** Opens what a name stands for: an image of the repository, or the one that was made of a container image. */
async function openFilesystem(
  repository: Repository,
  name: string,
  bootable: boolean,
): Promise<ImageFile> {
  if (isImageName(repository, name)) {
    if (!bootable) return repository.openImage(name);
    throw new UsageError(`--bootable is for container images, ${name} is a filesystem already`);
  }
  return repository.openImage(await filesystemOf(repository, name, bootable));
}

/** Whether it names a filesystem image. Tags come before the names that filesystem images have. */
function isImageName(repository: Repository, name: string): boolean {
  if (name.startsWith("refs/") || digestOfHex(name, repository.hash) !== undefined) return true;
  if (name.startsWith("@") || isTag(repository, name)) return false;
  return repository.listRefs("images").some((ref) => ref.name === name);
}

function isTag(repository: Repository, name: string): boolean {
  return repository
    .listRefs("streams", TAG_DIRECTORY)
    .some((ref) => ref.name === `${TAG_DIRECTORY}/${encodeTag(name)}`);
}

/** The digest, in hex, of a container image's filesystem: in the repository's default format, or in what there is. */
async function filesystemOf(
  repository: Repository,
  name: string,
  bootable: boolean,
): Promise<string> {
  const { HintedError } = await import("../../src/linux/hint.ts");
  const { openImage } = await import("../oci/image.ts");
  const { imageRef } = await import("../oci/streams.ts");
  const { images } = openImage(repository, name);
  for (const xattrs of ["allowlist-only", "keep-user-xattrs"] as const) {
    for (const format of [...repository.formats, 1, 2] as const) {
      const digest = images.get(imageRef(format, bootable, xattrs));
      if (digest !== undefined) return toHex(digest);
    }
  }
  throw new HintedError(
    `the repository has no ${bootable ? "bootable " : ""}filesystem for it`,
    `cfsboot image pull ${bootable ? "--bootable " : ""}REFERENCE ${name}`,
  );
}
