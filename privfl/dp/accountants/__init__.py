"""Accountants: what a list of events costs, each in its own way, behind one interface."""

from privfl.dp.accountants.account import ACCOUNTANTS as ACCOUNTANTS
from privfl.dp.accountants.account import Account as Account
from privfl.dp.accountants.account import account as account
from privfl.dp.accountants.account import epsilon_curve as epsilon_curve
from privfl.dp.accountants.base import Accountant as Accountant
from privfl.dp.accountants.pld import PldAccountant as PldAccountant
from privfl.dp.accountants.prv import PrvAccountant as PrvAccountant
from privfl.dp.accountants.rdp import RdpAccountant as RdpAccountant
