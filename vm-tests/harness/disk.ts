/**
 * The physical root of a machine that boots an image, as an ext4 disk: the repository, and the state of one deployment
 * in bootc's layout. With fs-verity on everything in the repository, though it is written without a kernel that has it.
 */
import {
  constants,
  copyFileSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readlinkSync,
  rmSync,
  symlinkSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { type HashName, toHex } from "../../src/formats/digest.ts";
import { debugfs, makeExt4, quoted } from "./ext4.ts";
import { ImageFiles } from "./image-files.ts";
import { sealFile, VERITY_INODE_FLAGS } from "./seal.ts";

export interface DiskOptions {
  /** The repository: an insecure one will do, and is needed where the kernel has no fs-verity. */
  readonly repository: string;
  readonly hash: HashName;
  /** Digest of the image to boot, in hex: the deployment's id. */
  readonly image: string;
  /** Whether the file system has the verity feature, and the repository's files have fs-verity. */
  readonly sealed: boolean;
  /** False: a repository without meta.json, as bootc up to 1.15 made them. */
  readonly metaJson?: boolean;
}

const FREE_MIB = 64;

/** Makes the disk image `target`. */
export function makeDisk(target: string, options: DiskOptions): void {
  const stage = mkdtempSync(join(dirname(target), "stage-"));
  try {
    const requests = [
      ...stageRepository(options, join(stage, "composefs")),
      ...stageState(options, stage),
    ];
    mkdirSync(join(stage, "boot"));
    makeExt4(target, stage, { verity: options.sealed, freeMib: FREE_MIB });
    debugfs(target, requests);
  } finally {
    rmSync(stage, { recursive: true, force: true });
  }
}

/** Copies the repository to `composefs` of a disk and returns the `debugfs` requests that complete it there. */
export function stageRepository(
  { repository, hash, sealed, metaJson }: Omit<DiskOptions, "image">,
  stage: string,
): string[] {
  const requests: string[] = [];
  const visit = (path: string) => {
    const from = join(repository, path);
    const to = join(stage, path);
    const stat = lstatSync(from);
    if (stat.isDirectory()) {
      mkdirSync(to, { mode: stat.mode & 0o777 });
      for (const name of readdirSync(from)) visit(join(path, name));
    } else if (stat.isSymbolicLink()) symlinkSync(readlinkSync(from), to);
    else if (path === "meta.json" && metaJson === false) return;
    else if (!sealed) copyFileSync(from, to, constants.COPYFILE_FICLONE);
    else {
      const file = sealFile(hash, from, to);
      const [, name] = path.match(/^objects\/(.*)$/) ?? [];
      if (name !== undefined && name.replace("/", "") !== toHex(file.digest))
        throw new Error(`${from} is not the object that its name says`);
      const onDisk = quoted(join("/composefs", path));
      requests.push(`sif ${onDisk} size ${file.size}`, `sif ${onDisk} flags ${VERITY_INODE_FLAGS}`);
    }
    // who runs this need not be root
    const onDisk = quoted(join("/composefs", path));
    requests.push(`sif ${onDisk} uid 0`, `sif ${onDisk} gid 0`);
  };
  visit("");
  return requests;
}

/** The deployment's state: a copy of the image's /etc, and its /var where all deployments share it. */
function stageState({ repository, image }: DiskOptions, stage: string): string[] {
  const files = new ImageFiles(repository, image);
  const deployment = join("state/deploy", image);
  const shared = "state/os/default";
  mkdirSync(join(stage, deployment), { recursive: true });
  mkdirSync(join(stage, shared), { recursive: true });
  symlinkSync("../../os/default/var", join(stage, deployment, "var"));
  const copy = (path: string, to: string) =>
    files.extract(path, join(stage, to)).flatMap(({ path: relative, uid, gid, mode }) => {
      const onDisk = quoted(join("/", to, relative));
      return [
        `sif ${onDisk} uid ${uid}`,
        `sif ${onDisk} gid ${gid}`,
        ...(mode === undefined ? [] : [`sif ${onDisk} mode 0${mode.toString(8)}`]),
      ];
    });
  return [...copy("etc", join(deployment, "etc")), ...copy("var", join(shared, "var"))];
}
