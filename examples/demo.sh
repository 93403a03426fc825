#!/usr/bin/env bash
# The main job, end to end, against the built-in sandbox. No money anywhere; nothing is left behind.
#
#   make demo     or     bash examples/demo.sh
set -euo pipefail

examples="$(cd "$(dirname "$0")" && pwd)"
if [ -x "$examples/../.venv/bin/refundcli" ]; then PATH="$examples/../.venv/bin:$PATH"; fi
python="$(dirname "$(command -v refundcli)")/python"

desk="$(mktemp -d "${TMPDIR:-/tmp}/refundcli-demo.XXXXXX")"
sandbox=""

clear_up() {
  local ended=$?
  trap - EXIT
  if [ -n "$sandbox" ]; then
    kill "$sandbox" 2>/dev/null || true
    wait "$sandbox" 2>/dev/null || true
  fi
  rm -rf "$desk"
  exit "$ended"
}
trap clear_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# A desk of its own: no settings, keys or store of whoever runs this can be meant.
for name in $(compgen -e REFUNDCLI_ || true); do unset "$name"; done
export HOME="$desk" XDG_CONFIG_HOME="$desk/config" XDG_DATA_HOME="$desk/data"
export STRIPE_API_KEY=sk_test_demo ADYEN_API_KEY=demo
export REFUNDCLI_OPERATOR_NAME="Ada Lovelace"
export NO_PROXY=127.0.0.1 no_proxy=127.0.0.1 PYTHONUTF8=1
cp "$examples/invoices.csv" "$examples/transfers.csv" "$desk"
cd "$desk"

chapter() { printf '\n\n══ %s ══\n' "$1"; }
step() { printf '\n── %s\n' "$1"; }

# run EXIT COMMAND [ANSWER|ANSWER…]: show the command, what an operator sees, and how it ended; EXIT is how it must end.
run() {
  local must=$1 command=$2 ended=0
  printf '$ %s\n' "$command"
  eval "set -- ${3:+--answer '$3'} $command"
  "$python" "$examples/terminal.py" "$@" || ended=$?
  if [ "$ended" -ne 0 ]; then printf '(exit %s)\n' "$ended"; fi
  if [ "$ended" -ne "$must" ]; then
    printf 'The demo expected exit %s.\n' "$must" >&2
    exit 1
  fi
}

tell_sandbox() { # PATH JSON
  "$python" -c 'import sys, urllib.request as web
web.urlopen(web.Request(sys.argv[1], sys.argv[2].encode(), method="POST"), timeout=10)' "$url/_sandbox/$1" "$2"
}

refunds_at_stripe() { # PAYMENT
  "$python" -c 'import json, sys, urllib.request as web
state = json.load(web.urlopen(sys.argv[1] + "/_sandbox/state", timeout=10))
found = [refund for refund in state["refunds"] if refund["payment"] == sys.argv[2]]
print(" Refunds of", sys.argv[2], "at Stripe:", len(found))' "$url" "$1"
}

chapter "Setting up: a practice Stripe and Adyen on this machine, a store, the invoices"

step "Look-alikes of both providers, with a payment for each invoice that was paid through one"
printf '$ refundcli sandbox --seed invoices.csv &\n'
refundcli sandbox --seed invoices.csv >sandbox.txt 2>sandbox.notes &
sandbox=$!
for _ in $(seq 300); do
  if [ -s sandbox.txt ] || ! kill -0 "$sandbox" 2>/dev/null; then break; fi
  sleep 0.1
done
url="$(head -n 1 sandbox.txt)"
if [ -z "$url" ]; then
  printf 'The sandbox did not start:\n' >&2
  cat sandbox.notes >&2
  exit 1
fi
cat sandbox.txt sandbox.notes

step "Settings hold references to keys, never keys"
run 0 "refundcli --store sqlite:///books.db init --sandbox $url"
unset REFUNDCLI_OPERATOR_NAME

step "The whole file is checked before a row is written; the same file again changes nothing"
run 0 "refundcli invoice import invoices.csv"
run 0 "refundcli invoice import invoices.csv"

step "Paid, open, disputed, mid-flight: what came in, as a table"
run 0 "refundcli invoice list --after INV-1012 --limit 10"

chapter "Refunding through the provider"

step "R1 · Paid by card through Stripe, so the money can go back. What may be done, and why not, is listed"
run 0 "refundcli invoice show INV-1001"

step "R5 · A refund cannot be undone: the amount is typed. A slip of the hand moves nothing"
run 3 "refundcli refund INV-1001 --amount 30.00 --reason overcharged" "300.00 EUR"

step "R3 · A part of it. R6: the invoice stays Paid. R7: a credit note. R8: what a refund does not do by itself"
run 0 "refundcli refund INV-1001" "30|5|30.00 EUR"

step "R3 · Never more than what is left"
run 3 "refundcli refund INV-1001 --amount 100.00 --reason duplicate --yes"

step "R3, R6 · All that is left: now it is Refunded. What went back before the import (49.00) is not paid out again"
run 0 "refundcli refund INV-1030 --full --reason 'Returned Goods' --memo 'Kit came back unopened' --yes"

step "R4 · The reason is one of eight"
run 3 "refundcli refund INV-1005 --full --reason returned-good --yes"

step "R1 · Through Adyen: accepted at once, final when Adyen says so"
run 0 "refundcli refund INV-1005 --full --reason duplicate --yes"

step "R3 · An amount is read exactly or not at all: there are no decimals in Japan, and three in Kuwait"
run 2 "refundcli refund INV-1007 --amount 5.25 --reason billing-error --yes"
run 0 "refundcli refund INV-1008 --amount 2.500 --reason billing-error --yes"

chapter "Refused, and told why"

step "R10 · Mid-flight at the provider: wait"
run 3 "refundcli refund INV-1021 --full --reason duplicate --yes"

step "R11 · An open dispute: a refund now could pay the customer twice"
run 3 "refundcli refund INV-1017 --full --reason fraudulent-charge --yes"

step "R11 · A dispute that was won: only when it was decided for the customer after all, and the books say by whom"
run 3 "refundcli refund INV-1018 --full --reason other --yes"
run 0 "refundcli refund INV-1018 --full --reason other --dispute-decision 'Ombudsman ruling 771, 2026-10-30' --yes"

step "R11 · A dispute that was lost: the bank has returned the money already"
run 3 "refundcli refund INV-1019 --full --reason chargeback --yes"

step "R12 · Paid by card, but reconciled out of band: the way is the dashboard, then the record"
run 3 "refundcli refund INV-1024 --full --reason other --yes"

step "A customer's name from outside is shown, never obeyed"
run 0 "refundcli invoice show INV-1023"

chapter "Recording refunds made elsewhere"

step "R2 · Paid in cash: there is no provider to ask. The record moves no money"
run 3 "refundcli refund INV-1035 --amount 2.000 --reason overcharged --yes"
run 0 "refundcli mark-refunded INV-1035 --amount 2.000 --reason overcharged --method cash" "y"

step "A file of them: checked whole, one question. R1: what Stripe can return (INV-1001) is never only marked"
run 9 "refundcli mark-refunded --from transfers.csv" "9"

step "What was refused comes back as a file to correct, with what is wrong in each row"
run 0 "cat transfers.csv.rejected.csv"

step "The same file again: nothing is done twice"
run 9 "refundcli mark-refunded --from transfers.csv"

chapter "Unpaid invoices"

step "R9 · Void cancels what was never paid; uncollectible writes off a bad debt and keeps it"
run 0 "refundcli void INV-1016 --memo 'Ordered twice'" "y"
run 0 "refundcli uncollectible INV-1015 --memo 'Insolvent' --yes"
run 3 "refundcli void INV-1002 --yes"

chapter "When the answer is lost"

step "Stripe makes the refund, and the line goes dead before it can say so"
tell_sandbox faults '{"provider": "stripe", "behaviour": "drop_after"}'
run 8 "refundcli refund INV-1003 --amount 12000 --reason duplicate --yes"

step "The amount stays reserved, so nobody can send it a second time"
run 3 "refundcli refund INV-1003 --amount 12000 --reason duplicate --yes"

step "resume asks Stripe first, and finds it"
run 0 "refundcli resume"
refunds_at_stripe pi_3QxChiyoTana0003

chapter "The books"

step "R7 · Every refund, of either kind, has its credit note; the numbers have no gaps"
run 0 "refundcli credit-notes list"

if "$python" -c 'import typst, facturx, babel' 2>/dev/null; then
  step "The document of one, for the customer: PDF/A-3, in English, German or Swedish"
  run 0 "refundcli credit-notes export CN-$(date +%Y)-000001 --to note.pdf"
fi

step "Every change, by whom, when and why"
run 0 "refundcli invoice history INV-1003"

step "Sums, credit-note numbers and the audit chain, added up anew"
run 0 "refundcli store check"

printf '\n\nDone: %s\n' "the sandbox is stopped and the temporary folder removed."
