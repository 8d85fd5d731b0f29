/**
 * Options of bootc that have no effect here, or cannot have the one that they have there: scripts that were written for
 * bootc go on, or are told what to do instead. Options that do the same in both are not here.
 */
import { type Command, Option } from "commander";
import { HintedError } from "../../src/linux/hint.ts";
import { isRunAgain } from "../install/user-namespace.ts";
import { UsageError } from "./errors.ts";

export interface BootcOption {
  readonly flags: string;
  /** What is not done for it, and may be missed. Neither this nor the next: nothing is. */
  readonly note?: string;
  /** Why it cannot be, and what to do. */
  readonly refused?: readonly [why: string, hint: string];
  /** Values with which it asks for what is done anyway. */
  readonly harmless?: readonly string[];
  /** The kernel argument that it stands for. */
  readonly karg?: string;
  /** What must be so before anything else is done. */
  readonly check?: () => Promise<void>;
}

const SOFT_REBOOT: BootcOption = {
  flags: "--soft-reboot <how>",
  refused: ["there are no soft reboots", "--apply without it reboots the whole machine"],
};
const UNIFIED_STORAGE: BootcOption = {
  flags: "--experimental-unified-storage",
  note: "images are kept in the repository only, not in a containers-storage beside it",
};
const SIGNATURE_POLICY: BootcOption = {
  flags: "--enforce-container-sigpolicy",
  check: requireSignaturePolicy,
};

const INSTALL: readonly BootcOption[] = [
  { flags: "--composefs-backend" },
  SIGNATURE_POLICY,
  { flags: "--target-no-signature-verification" },
  { flags: "--skip-fetch-check" },
  {
    flags: "--run-fetch-check",
    note: "it is not tried whether the installed system can fetch the image that it follows",
  },
  UNIFIED_STORAGE,
  { flags: "--disable-selinux", karg: "selinux=0" },
  {
    flags: "--bound-images <how>",
    harmless: ["skip"],
    note: "images that are bound to this one are not fetched: the installed system does it when it needs them",
  },
  {
    flags: "--stateroot <name>",
    harmless: ["default"],
    note: "there is one state for all deployments, which has no other name than default",
  },
  {
    flags: "--bootupd-skip-boot-uuid",
    note: "bootupd is not used; GRUB finds /boot by its UUID",
  },
  {
    flags: "--uki-addon <name>",
    refused: ["addons of unified kernel images are not installed", "--karg adds kernel arguments"],
  },
];
const INTO_MOUNTED: readonly BootcOption[] = [...INSTALL, { flags: "--acknowledge-destructive" }];
const NOTHING_REMOVED = [
  "nothing is removed from a file system",
  "make a new one, or --replace alongside installs beside what is there",
] as const;

/** By the words of the command. */
export const BOOTC_OPTIONS = {
  upgrade: [
    SOFT_REBOOT,
    {
      flags: "--from-delta <path>",
      refused: [
        "deltas of images are not read",
        "cfsboot upgrade fetches only layers that are new",
      ],
    },
  ],
  switch: [
    SOFT_REBOOT,
    UNIFIED_STORAGE,
    SIGNATURE_POLICY,
    { flags: "--no-signature-verification" },
    {
      flags: "--retain",
      note: "what runs stays as the rollback in any case; cfsboot pin booted keeps it for good",
    },
    {
      flags: "--mutate-in-place",
      refused: [
        "what runs cannot be said to be another image",
        "--in-place lets a deployment follow an image that has its content",
      ],
    },
    {
      flags: "--from-delta <path>",
      refused: ["deltas of images are not read", "cfsboot switch fetches only layers that are new"],
    },
  ],
  rollback: [SOFT_REBOOT],
  gc: [
    { flags: "--prune-repo" },
    {
      flags: "--assert-no-op",
      refused: ["it is not an error that there is garbage", "--dry-run --json tells what there is"],
    },
  ],
  "image list": [
    {
      flags: "--type <type>",
      harmless: ["all", "host"],
      refused: ["images that are bound to another one are not kept", "podman image list"],
    },
    {
      flags: "--format <format>",
      harmless: ["table"],
      refused: ["the document is another one than bootc's", "--json prints it"],
    },
  ],
  "finalize-staged": [
    {
      flags: "--hold",
      refused: [
        "nothing is held by this command",
        "systemctl start cfsboot-finalize-staged-hold.service",
      ],
    },
  ],
  "install to-disk": INSTALL,
  "install to-filesystem": INTO_MOUNTED,
  "install to-existing-root": [
    ...INTO_MOUNTED,
    { flags: "--replace <how>", harmless: ["alongside"], refused: NOTHING_REMOVED },
    {
      flags: "--cleanup",
      note: "the system that was there stays, and nothing removes it at the first boot",
    },
  ],
} satisfies Readonly<Record<string, readonly BootcOption[]>>;

/** Makes the commands of a program that are there take them. Help does not show them. */
export function takeBootcOptions(program: Command): void {
  for (const [words, options] of Object.entries<readonly BootcOption[]>(BOOTC_OPTIONS)) {
    let command: Command | undefined = program;
    for (const word of words.split(" ")) {
      command = command?.commands.find((one) => one.name() === word);
    }
    for (const option of options) if (command !== undefined) take(command, option);
  }
}

function take(command: Command, { flags, note, refused, harmless = [], karg, check }: BootcOption) {
  const option = new Option(flags, "for those used to bootc").hideHelp();
  command.addOption(option);
  let told = false;
  command.on(`option:${option.name()}`, (value: string | null) => {
    if (value !== null && harmless.includes(value)) return;
    if (refused !== undefined) {
      const [why, hint] = refused;
      throw Object.assign(new UsageError(`${option.long}: ${why}`), { hint });
    }
    if (karg !== undefined) {
      command.setOptionValue("karg", [...command.getOptionValue("karg"), karg]);
    }
    if (note === undefined || told || isRunAgain()) return;
    told = true;
    process.stderr.write(`cfsboot: warning: ${option.long} has no effect: ${note}\n`);
  });
  if (check === undefined) return;
  command.hook("preAction", async () => {
    if (command.getOptionValue(option.attributeName()) === true) await check();
  });
}

/** The policy counts without the option, too: it only asks that there is one by which unsigned images are not taken. */
async function requireSignaturePolicy(): Promise<void> {
  const { loadPolicy, takesAnything } = await import("../oci/policy.ts");
  const policy = loadPolicy();
  if (policy !== undefined && !takesAnything(policy)) return;
  const what = policy === undefined ? "there is no policy.json" : `${policy.file} has none`;
  throw new HintedError(
    `--enforce-container-sigpolicy wants a policy that requires signatures by default: ${what}`,
    "containers-policy.json(5) says how to write one",
  );
}
