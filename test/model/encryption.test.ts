import { expect, test } from "vitest";
import { encryptionKargs, type Opener, openerOf } from "../../src/model/encryption.ts";

const UUID = "01234567-89ab-cdef-0123-456789abcdef";

test.each<Opener>(["passphrase", "tpm2"])(
  "what is said of a root that a %s opens is understood",
  (opener) => {
    const kargs = encryptionKargs({ opener, uuid: UUID });
    expect(openerOf([...kargs, "root=/dev/mapper/root", "rw"].join(" "))).toBe(opener);
  },
);

test.each<[string, Opener | undefined]>([
  ["root=UUID=1 rw", undefined],
  [`rd.luks.uuid=luks-${UUID}`, "passphrase"],
  [`luks.uuid=${UUID}`, "passphrase"],
  [`luks.name=${UUID}=x luks.options=discard,tpm2-device=/dev/tpmrm0`, "tpm2"],
  [`rd.luks.name=${UUID}=x rd.luks.options=no-tpm2-device=1`, "passphrase"],
  ["rd.luks.options=tpm2-device=auto", undefined],
  ["xrd.luks.uuid=1", undefined],
])("%s: %s", (cmdline, opener) => {
  expect(openerOf(cmdline)).toBe(opener);
});
