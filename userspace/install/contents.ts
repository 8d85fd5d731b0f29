/**
 * Fills the file systems of a machine that is being installed: repository, image, the first deployment, the shared `/var`
 * and the boot loader. They may be mounted file systems of a disk, or directories that become some later.
 *
 * The boot loader comes last, so that what is half done is never booted.
 */
import { posix } from "node:path";
import { toText } from "../../src/formats/bytestring.ts";
import { splitCmdline } from "../../src/formats/cmdline.ts";
import type { BootLoader, InstallConfig } from "../../src/formats/install-toml.ts";
import { deleteKarg, deleteKargName } from "../../src/formats/kargs.ts";
import type { ImagePlatform } from "../../src/formats/oci.ts";
import type { OriginImage } from "../../src/formats/origin.ts";
import type { Tree } from "../../src/formats/tree.ts";
import { ifThere, removeTree } from "../../src/linux/directories.ts";
import { HintedError } from "../../src/linux/hint.ts";
import type { Fd } from "../../src/linux/linux.ts";
import { deploymentTag } from "../../src/model/boot-gc.ts";
import { lookUp } from "../../src/model/boot-resources.ts";
import { understand } from "../../src/model/deployments.ts";
import { collectBootFiles, planCollection } from "../deployment/gc.ts";
import type { Host } from "../deployment/host.ts";
import { observe } from "../deployment/observe.ts";
import { bootImageOf, deploy, planStage, type StagePlan } from "../deployment/stage.ts";
import { downloadOf, fetchImage, type RemoteImage } from "../deployment/upgrade.ts";
import { openImage } from "../oci/image.ts";
import type { PullProgress, PullResult } from "../oci/pull.ts";
import type { Transport } from "../oci/transport.ts";
import { isProblem } from "../repository/errors.ts";
import { ensureRepository } from "../repository/init.ts";
import { openRepository, type Repository } from "../repository/repository.ts";
import { writeAleph } from "./aleph.ts";
import { withoutMachineId, withRootKeys } from "./etc-files.ts";
import { asksAtFirstBoot } from "./first-boot.ts";
import type { GrubPlace } from "./grub.ts";
import { labelOwn, labelShared, policyOf } from "./labels.ts";
import { prepareLoader, putLoader } from "./loaders.ts";
import { type Room, requireKernelRoom, requireRootRoom } from "./room.ts";
import { deletesOf, imageInstallConfig, requireDeletable } from "./settings.ts";
import { noteFinished, noteUnfinished, readUnfinished, type Unfinished } from "./unfinished.ts";
import { fillMountedVar, fillVar } from "./var.ts";

/** Where it goes. */
export interface Target {
  /** Nothing runs there. */
  readonly host: Host;
  /** The repository is made here. */
  readonly repositoryPath: string;
  /** Whether it does without fs-verity. */
  readonly insecure: boolean;
  /** The EFI system partition; absent: no boot loader is put there. */
  readonly esp: Fd | undefined;
  /** Whether there is an extended boot loader partition, which systemd-boot takes for the menu instead. */
  readonly xbootldr?: boolean;
  /** Its device, if this machine has such a one. */
  readonly espDevice?: string | undefined;
  /** Where GRUB, if that is what is wanted, finds `/boot`. */
  readonly grub: GrubPlace;
  /** A file system of its own for `/var`. */
  readonly mountedVar?: Fd;
  /** How much fits into the root, and to where kernels are. */
  readonly rootRoom: Room;
  readonly bootRoom: Room;
}

/** What goes there. */
export interface Wanted {
  readonly transport: Transport;
  readonly remote: RemoteImage;
  readonly platform: ImagePlatform;
  /** What is installed. */
  readonly source: OriginImage;
  /** What upgrades follow. */
  readonly follow: OriginImage;
  readonly bootLoader: BootLoader;
  /** Kernel arguments, besides the image's own. */
  readonly kargs: readonly string[];
  /** Those of them that were asked for, and are no guess of ours. */
  readonly askedKargs: readonly string[];
  /** Of all, whole ones or names. */
  readonly kargDeletes: readonly string[];
  /** For many machines: nothing may be in it that each shall have for itself. */
  readonly generic: boolean;
  /** The type of the root's file system. */
  readonly rootFileSystem: string | undefined;
  /** Whether the firmware of this machine is told about the boot loader. */
  readonly firmware: boolean;
  readonly rootKeys: Uint8Array | undefined;
  /** Even if the image would not come up, as far as can be told. */
  readonly force: boolean;
  /** Shows how fetching goes on, until it is stopped. */
  readonly progress: (() => PullProgress & { stop(): void }) | undefined;
  /** Called between the steps; fails if somebody has interrupted the installation. */
  readonly goOn: () => Promise<void>;
}

const QUESTIONS =
  "note: at its first boot systemd-firstboot asks questions on the console, and waits for the answers; --karg systemd.firstboot=off does without";

const NO_EFI =
  "note: the image has no directory /efi, where systemd mounts the ESP beside an extended boot loader partition: efi.automount will fail at each boot";

/** How many deployments the menu of a new machine takes; it gets one. */
const KEEP = 2;

/** Fills it, and returns the deployment. `say` is told of each step. */
export async function installContents(
  target: Target,
  wanted: Wanted,
  say: (step: string) => void,
): Promise<StagePlan> {
  const { host, repositoryPath, esp, grub } = target;
  const { transport, remote, platform, progress, follow, generic } = wanted;
  const left = makeRepository(target);
  using repository = openRepository(repositoryPath);
  const { bytes } = downloadOf(repository, remote);
  requireRootRoom(host.linux, host.sysroot, bytes, target.rootRoom);
  say("fetch the image");
  const shown = progress?.();
  let fetched: PullResult;
  try {
    const options = { platform, ...(shown && { progress: shown }) };
    fetched = await fetchImage(repository, transport, remote, options);
  } catch (error) {
    await wanted.goOn(); // if that is why, it says so shorter
    throw error;
  } finally {
    shown?.stop();
  }
  await wanted.goOn();
  const image = openImage(repository, deploymentTag(remote.manifestDigest));
  const boot = bootImageOf(repository, image, fetched);
  const { tree } = boot;
  const loader =
    esp === undefined ? undefined : prepareLoader(wanted, repository, tree, { host, esp, grub });
  const request = {
    reference: follow,
    keep: KEEP,
    locked: false,
    counted: false,
    force: wanted.force,
    ...(wanted.rootFileSystem !== undefined && { rootFileSystem: wanted.rootFileSystem }),
  };
  const configured = imageInstallConfig(repository, tree, platform.architecture);
  for (const remark of differences(configured, wanted)) say(remark);
  if (target.xbootldr === true && wanted.bootLoader === "systemd") {
    if (lookUp(tree, ["efi"]) === undefined) say(NO_EFI);
  }
  // in the image's own container its configuration counts already
  const options = [...new Set([...wanted.kargs, ...configured.kargs])].join(" ");
  const machine = machineWithout(left.deployments, host, repository);
  const staged = planStage(host, repository, machine, image, boot, { ...request, options });
  requireNoKargs(staged, wanted);
  requireKernelRoom(
    host.linux,
    host.places[0].directory,
    staged.kernel.size,
    target.bootRoom,
    wanted.force,
  );
  const labels = policyOf(repository, tree);
  let etc = withoutMachineId(staged.etc, generic, labels);
  if (wanted.rootKeys !== undefined) {
    etc = withRootKeys(etc, writableHome(tree), wanted.rootKeys, labels);
  }
  const kargDeletes = [...deletesOf(configured, wanted.kargs), ...wanted.kargDeletes];
  const plan = { ...staged, etc, options: withoutKargs(staged.options, kargDeletes) };
  await wanted.goOn();
  say("fill /var");
  if (target.mountedVar === undefined) fillVar(host, repository, tree);
  else fillMountedVar(host, repository, tree, target.mountedVar);
  await wanted.goOn();
  say("write the deployment");
  const others = left.deployments.filter((id) => id !== plan.id);
  noteUnfinished(host.linux, host.sysroot, { ...left, deployments: [...others, plan.id] });
  deploy(host, repository, plan);
  if (others.length > 0) {
    const now = understand(observe(host, repository).seen);
    collectBootFiles(host, repository, planCollection(repository, now));
  }
  writeAleph(host, {
    ...{ source: wanted.source, follow, digest: remote.manifestDigest },
    labels: image.config.document?.labels ?? new Map(),
    selinux: labels !== undefined,
  });
  if (labels !== undefined) labelOwn(host.linux, host.sysroot, labels);
  if (loader !== undefined) putLoader(loader, wanted.firmware ? target.espDevice : undefined, say);
  if (labels !== undefined) labelShared(host.linux, host.sysroot, labels);
  if (generic && asksAtFirstBoot(tree, plan.options)) say(QUESTIONS);
  noteFinished(host.linux, host.sysroot);
  return plan;
}

/**
 * Makes the repository, or goes on with that of an installation that was not finished. Returns what there is of such a one;
 * from now on there is, until this one is finished.
 */
function makeRepository({ host, repositoryPath, insecure }: Target): Unfinished {
  const { linux, sysroot } = host;
  const isThere = () => ifThere(() => linux.statx(sysroot, "composefs", 0)) !== undefined;
  const left = readUnfinished(linux, sysroot) ?? { repository: !isThere(), deployments: [] };
  // fs-verity was not wanted then; what is there would have none
  if (left.repository && !insecure && isInsecure(repositoryPath)) {
    removeTree(linux, sysroot, "composefs");
  }
  noteUnfinished(linux, sysroot, left);
  try {
    ensureRepository(repositoryPath, { insecure, insecureOption: "--allow-missing-verity" });
  } catch (error) {
    if (!isThere() && left.deployments.length === 0) noteFinished(linux, sysroot);
    throw error;
  }
  return left;
}

function isInsecure(repositoryPath: string): boolean {
  try {
    using repository = openRepository(repositoryPath);
    return repository.insecure;
  } catch (error) {
    if (isProblem(error, "no-repository")) return false;
    throw error;
  }
}

/** What there is without deployments that were never finished. */
function machineWithout(
  ids: readonly string[],
  host: Host,
  repository: Repository,
): ReturnType<typeof understand> {
  const { seen } = observe(host, repository);
  return understand({ ...seen, menu: seen.menu.filter(({ id }) => !ids.includes(id)) });
}

/** What the image would rather have: it is known too late to do it, as the disk is divided before. */
function differences(
  { fileSystem, bootLoader }: InstallConfig,
  { rootFileSystem, bootLoader: chosen }: Wanted,
): string[] {
  const remark = (option: string, wish: string | undefined, is: string | undefined) =>
    wish === undefined || is === undefined || wish === is
      ? []
      : [`note: the image is configured for ${option} ${wish}`];
  return [
    ...remark("--filesystem", fileSystem, rootFileSystem),
    ...remark("--bootloader", bootLoader, chosen),
  ];
}

/** A unified kernel image has the command line that it has. */
function requireNoKargs({ kernel: { unified } }: StagePlan, wanted: Wanted): void {
  const [karg] = [...wanted.askedKargs, ...wanted.kargDeletes];
  if (unified === undefined || karg === undefined) return;
  throw new HintedError(
    `kernel argument ${karg}: the image boots with the unified kernel image ${unified.path}, whose command line is part of it`,
    "without --karg and --karg-delete it is installed; its command line is made with it, when the image is built",
  );
}

/** A command line without arguments, which are whole ones or names. */
function withoutKargs(options: string, deleted: readonly string[]): string {
  requireDeletable(deleted);
  let kargs: readonly string[] = splitCmdline(options);
  for (const karg of deleted) {
    kargs = karg.includes("=") ? deleteKarg(kargs, karg) : deleteKargName(kargs, karg);
  }
  return kargs.join(" ");
}

/** Root's home. systemd-tmpfiles writes the keys at boot, so it must be where that is possible. */
function writableHome(tree: Tree): string {
  const home = lookUp(tree, ["root"]);
  if (home?.type === "leaf" && home.content.type === "symlink") {
    const target = toText(home.content.target);
    if (target !== undefined) return posix.resolve("/", target);
  }
  throw new HintedError(
    "the image has no place for root's SSH keys: /root is a directory of the image, which cannot be written to",
    "in an image that takes keys /root is a link to var/roothome",
  );
}
