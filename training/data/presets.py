"""Declarations of files that are known, as the tables that a person would write. Names of columns stand here alone."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from training.data.declaration import Declaration, restored

Table = Mapping[str, Any]

_TABFORMER: Table = {
    "time": {
        "parts": {"year": "Year", "month": "Month", "day": "Day", "time": "Time"},
        "resolution": "minute",
    },
    "amount": {"column": "Amount", "prefixes": ["$"], "limit": 100_000},
    "entities": {
        "card": {"columns": ["User", "Card"], "whole": [[0, 2**31 - 1], [0, 9]]},
        "merchant": {"columns": ["Merchant Name"], "whole": [[-(2**63), 2**63 - 1]]},
    },
    "categories": {
        "channel": {
            "column": "Use Chip",
            "values": ["Swipe Transaction", "Chip Transaction", "Online Transaction"],
            "names": ["swipe", "chip", "online"],
        },
        "mcc": {
            "column": "MCC",
            "whole": [700, 9999],
            "scale": 1000,
            "groups": {  # by their hundreds, as the card networks group them
                "services": [0, 2999],
                "travel": [3000, 3999],
                "transport": [4000, 4799],
                "utilities": [4800, 4999],
                "retail": [5000, 5599],
                "vehicles": [5600, 5699],
                "shops": [5700, 7299],
                "business": [7300, 7999],
                "professional": [8000, 8999],
                "government": [9000, 9999],
            },
        },
        "state": {"column": "Merchant State", "empty": True, "long_from": 3, "long_name": "foreign"},
    },
    "numbers": {
        "zip": {"column": "Zip", "least": 0, "most": 99_999, "whole": True, "empty": True, "scale": 10_000},
    },
    "flags": {
        "errors": {
            "column": "Errors?",
            "values": [
                "Insufficient Balance",
                "Bad PIN",
                "Technical Glitch",
                "Bad Card Number",
                "Bad CVV",
                "Bad Expiration",
                "Bad Zipcode",
            ],
            "prefix": "error",
        },
    },
    "label": {"column": "Is Fraud?", "fraud": ["Yes"], "good": ["No"]},
    "present": ["Merchant City"],
    "columns": [
        *("User", "Card", "Year", "Month", "Day", "Time", "Amount", "Use Chip"),
        *("Merchant Name", "Merchant City", "Merchant State", "Zip", "MCC", "Errors?", "Is Fraud?"),
    ],
    "features": [
        *("amount_log", "refund", "swipe", "chip", "online", "mcc_code", "mcc_share", "state_share"),
        *("no_state", "no_zip", "foreign", "zip", "hour_sin", "hour_cos"),
        *("error_insufficient_balance", "error_bad_pin", "error_technical_glitch", "error_bad_card_number"),
        *("error_bad_cvv", "error_bad_expiration", "error_bad_zipcode", "error_other"),
    ],
}
# Sparkov's simulation (Kaggle: kartik2112/fraud-detection).
_SPARKOV: Table = {
    "id": "trans_num",
    "time": {"column": "trans_date_trans_time"},
    "amount": {"column": "amt"},
    "entities": {"card": {"columns": ["cc_num"]}, "merchant": {"columns": ["merchant"]}},
    "categories": {
        "category": {"column": "category"},
        "state": {"column": "state"},
        "gender": {"column": "gender", "values": ["F", "M"]},
    },
    "numbers": {
        "city_pop": {"column": "city_pop", "log": True},
        "lat": {"column": "lat", "least": -90, "most": 90, "scale": 90},
        "long": {"column": "long", "least": -180, "most": 180, "scale": 180},
        "merch_lat": {"column": "merch_lat", "least": -91, "most": 91, "scale": 90},
        "merch_long": {"column": "merch_long", "least": -181, "most": 181, "scale": 180},
    },
    "label": {"column": "is_fraud"},
    "ignore": ["", "first", "last", "street", "city", "zip", "job", "dob", "unix_time"],
}
# The Fraud Detection Handbook (Le Borgne et al. 2022).
_HANDBOOK: Table = {
    "id": "TRANSACTION_ID",
    "time": {"column": "TX_DATETIME"},
    "amount": {"column": "TX_AMOUNT"},
    "entities": {"customer": {"columns": ["CUSTOMER_ID"]}, "terminal": {"columns": ["TERMINAL_ID"]}},
    "label": {"column": "TX_FRAUD"},
    "ignore": ["TX_TIME_SECONDS", "TX_TIME_DAYS", "TX_FRAUD_SCENARIO"],
}
# PaySim (Lopez-Rojas et al. 2016); a step is an hour. The balances after the payment are left out: they tell the label.
_PAYSIM: Table = {
    "time": {"column": "step", "format": "epoch", "unit": 3600, "origin": "2019-01-01"},
    "amount": {"column": "amount"},
    "entities": {"origin": {"columns": ["nameOrig"]}, "destination": {"columns": ["nameDest"]}},
    "categories": {
        "type": {"column": "type", "values": ["CASH_IN", "CASH_OUT", "DEBIT", "PAYMENT", "TRANSFER"]},
    },
    "numbers": {
        "old_balance_origin": {"column": "oldbalanceOrg", "log": True},
        "old_balance_destination": {"column": "oldbalanceDest", "log": True},
    },
    "label": {"column": "isFraud"},
    "ignore": ["newbalanceOrig", "newbalanceDest", "isFlaggedFraud"],
}
# IEEE-CIS (Kaggle 2019), train_transaction.csv: seconds from a day that is not told; the card is known by its fields.
_IEEE_CIS: Table = {
    "id": "TransactionID",
    "time": {"column": "TransactionDT", "format": "epoch", "origin": "2017-11-30"},
    "amount": {"column": "TransactionAmt", "minor_units": 3},
    "entities": {
        "card": {"columns": ["card1", "card2", "card3", "card4", "card5", "card6"]},
        "address": {"columns": ["addr1", "addr2", "P_emaildomain"]},
    },
    "categories": {
        "product": {"column": "ProductCD"},
        "network": {"column": "card4", "empty": True},
        "kind": {"column": "card6", "empty": True},
        "email": {"column": "P_emaildomain", "empty": True},
    },
    "label": {"column": "isFraud"},
}
PRESETS: Mapping[str, Table] = {
    "tabformer": _TABFORMER,
    "sparkov": _SPARKOV,
    "handbook": _HANDBOOK,
    "paysim": _PAYSIM,
    "ieee-cis": _IEEE_CIS,
}
DEFAULT = "tabformer"


@cache
def preset(name: str = DEFAULT) -> Declaration:
    """The declaration of a preset as it is."""
    return restored(PRESETS[name])
