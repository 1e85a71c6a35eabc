"""The one training loop: ``fit``, ``Learner``, ``Step``, ``Recipe``, ``Subject``. Torch is loaded when it is used."""
